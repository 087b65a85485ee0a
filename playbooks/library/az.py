#!/usr/bin/python
"""Run one command of the Azure CLI: honest about what it changed, and about what it would change."""

import contextlib
import functools
import io
import itertools
import json
import logging
import os
import re
import shlex
import time
from collections import Counter

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: az
short_description: Run one command of the Azure CLI
description:
  - Runs the command in this process, through azure-cli-core, with the cloud, the subscription and the login of C(az).
  - A reading verb (show, list, list-deleted, exists, show-tags, show-run, logs, validate, what-if, version) never
    changes anything, and runs in check mode too. Every other verb writes; in check mode it is only reported.
  - A busy service is asked again, after growing pauses or as long as it says (Retry-After), until O(patience) is over.
    Busy is 409 for an operation in progress or a lock, 408, 429, 5xx and a connection that broke. A write may have been
    taken although its answer was lost, so every writing command that is given here must bear a repeat.
  - No extension of the CLI is loaded, because one may replace commands of the CLI that is pinned.
options:
  run:
    description: The words of the command before its options, and positional arguments if it has any.
    type: str
    required: true
  args:
    description:
      - Its options, C(_) for C(-). True is a bare flag, false and null are left out, a list becomes several words, a
        mapping several C(KEY=VALUE) words.
    type: dict
    default: {}
  secrets:
    description: Options like O(args), whose values appear nowhere, neither in results nor in messages nor in a log.
    type: dict
    default: {}
  reads:
    description:
      - For a writing verb, a reading command, as O(run) and O(args). It runs before and after; the task is changed when
        the two answers differ, and they are the diff. Without it a writing verb is always changed.
    type: dict
    suboptions:
      run:
        description: As O(run).
        type: str
        required: true
      args:
        description: As O(args).
        type: dict
        default: {}
  done:
    description:
      - For a writing verb, a reading command, as O(reads). It runs before the write is repeated; where it answers
        anything, the write was taken and is not repeated.
    type: dict
    suboptions:
      run:
        description: As O(run).
        type: str
        required: true
      args:
        description: As O(args).
        type: dict
        default: {}
  patience:
    description:
      - Seconds in which a busy service is asked again; 0 is never. In a play without it, most of the time that the task
        has by C(timeout) or C(async), so that the task ends with the service's reason.
    type: float
    default: 300
  chdir:
    description: Where the command runs.
    type: path
"""

EXAMPLES = r"""
- name: Send half of the calls to green
  az:
    run: containerapp ingress traffic set
    args: {name: rtproxy, resource_group: voice, revision_weight: {rtproxy--blue: 50, rtproxy--green: 50}}
    reads:
      run: containerapp ingress traffic show
      args: {name: rtproxy, resource_group: voice}
"""

RETURN = r"""
value:
  description:
    - The answer of the command, parsed; what it printed where it answers nothing.
    - Null in check mode for a writing verb.
  type: raw
  returned: success
remarks:
  description: What az remarked beside its answer, one of its warnings each, such as the ID of a build that it queued.
  type: list
  returned: success of a writing verb, but not in check mode
command:
  description: What an operator would type; secrets are replaced.
  type: str
  returned: always
rc:
  description: The exit code of az.
  type: int
  returned: always, but not in check mode for a writing verb
status:
  description: Of the service's last answer to a command that failed; null where it gave none.
  type: int
  returned: failure
waited:
  description: What the service was asked again for, and how often.
  type: dict
  returned: success
"""

# Said again, these may find that what they delete is gone.
DELETING = {"delete", "purge"}
NOT_FOUND = 404
# What a refusal, or an operation that failed, says of a service that is only busy.
BUSY = re.compile(
    r"OperationInProgress|LockConflict|DeploymentActive|active provisioning operation"
    r"|(operation|modification) is in progress|state is not terminal"
)
BUSY_STATUS = {408, 429, 500, 502, 503, 504}
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
READING = {"show", "list", "list-deleted", "exists", "show-tags", "show-run", "logs", "validate", "what-if", "version"}
# Where the CLI looks for extensions: places that nobody can make, and no sources.
NO_EXTENSIONS = {
    "AZURE_EXTENSION_DIR": "/dev/null/extensions",
    "AZURE_EXTENSION_SYS_DIR": "/dev/null/extensions",
    "AZURE_EXTENSION_DEV_SOURCES": "",
}
HIDDEN = "***"
# A text this long is no part of another by chance.
LONG = 8
# What is no key of a pair may be an ordinary word, such as a model's name: then a piece of it is no secret.
OPAQUE = 16
PAIR = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):(?!//)(.+)")
PASSWORD = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")
# What the service repeats below its message, as "Code: ..." lines.
REPEATED = re.compile(r"^(Code|Message|Target|Inner ?Errors?|Exception Details):", re.IGNORECASE)


class AzError(Exception):
    """``status``: of the last answer, if there was one. ``busy``: what the service is busy with, if that is the reason.

    ``retry_after``: seconds that it asks for. ``repeated``: az sent a request again by itself, as parts of it do.
    """

    def __init__(self, message, command, rc, status=None, busy="", retry_after=0.0, *, repeated=False):
        super().__init__(message)
        self.command, self.rc, self.status = command, rc, status
        self.busy, self.retry_after, self.repeated = busy, retry_after, repeated


class Said(logging.Handler):
    """Where az says why: the exception alone is empty when its parser refuses an argument. And what it remarks."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []
        self.remarks = []

    def emit(self, record):
        if record.levelno < logging.ERROR:
            self.remarks.append(record.getMessage())
            return
        self.messages.append(record.getMessage())
        if record.exc_info:
            # az tripped over the service's refusal, which is what the exception came from.
            cause = record.exc_info[1]
            while cause.__context__ is not None:
                cause = cause.__context__
            self.messages[:] = [str(cause)]


class Answers:
    """How the last request of a command ended. az may hide it: where a connection broke, an app "does not exist"."""

    def __init__(self):
        import requests

        self._session, self._send = requests.Session, requests.Session.send
        self._broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        self.begin()

    def begin(self):
        """A command is about to run."""
        self.busy, self.stumbled = "", False
        self.forget()

    def forget(self):
        self.stumbled = self.stumbled or bool(self.busy)
        self.status, self.busy, self.retry_after = None, "", 0.0

    def __enter__(self):
        def send(session, request, **how):
            self.forget()
            try:
                answer = self._send(session, request, **how)
            except self._broken as broken:
                # Who shows a wrong certificate will show it again.
                self.busy = "" if "CERTIFICATE_VERIFY_FAILED" in str(broken) else "the connection broke"
                raise
            self.status = answer.status_code
            if answer.status_code in BUSY_STATUS or (answer.status_code == 409 and BUSY.search(answer.text)):
                self.busy = f"{answer.status_code} {code_of(answer)}".strip()
                self.retry_after = seconds(answer.headers.get("Retry-After"))
            return answer

        self._session.send = send
        return self

    def __exit__(self, *_):
        self._session.send = self._send


def code_of(answer):
    """The service's short name of an error; else HTTP's."""
    try:
        said = answer.json()
        return str((said.get("error") or said)["code"])
    except (ValueError, AttributeError, KeyError, TypeError):
        return answer.reason or ""


def seconds(retry_after):
    """A Retry-After as a number; a date is none."""
    return float(retry_after) if re.fullmatch(r"\d+", retry_after or "") else 0.0


class Patience:
    """How long a busy service is asked again, for all that one task asks; ``say`` takes a line for whoever watches."""

    def __init__(self, seconds, say=lambda line: None):
        self.waited = Counter()
        self._began, self._seconds, self._say = time.monotonic(), seconds, say

    def __call__(self, az, run, args, secrets, done=None):
        """The answer of ``az``, asked until the service takes the command. Raises AzError."""
        pause, tries = FIRST_PAUSE_S, 1
        while True:
            try:
                return az(run, args, secrets)
            except AzError as error:
                again = tries > 1 or error.repeated
                if again and error.status == NOT_FOUND and shlex.split(run)[-1] in DELETING:
                    return None
                if not error.busy:
                    raise
                self._wait(error, run, max(pause, error.retry_after), tries)
            if done and (answer := self._taken(az, done)):
                return answer
            pause, tries = min(2 * pause, LONGEST_PAUSE_S), tries + 1

    def _wait(self, error, run, pause, tries):
        """Raises the error where the time is over before the pause is."""
        spent = time.monotonic() - self._began
        if spent + pause > self._seconds:
            if tries == 1:
                raise error
            said = f"{error} The service was busy for {spent:.0f} s, in which it was asked {tries} times: {error.busy}"
            raise AzError(said, error.command, error.rc, error.status)
        if not self.waited[error.busy]:
            self._say(f"az {run}: {error.busy}. It is asked again, for {self._seconds - spent:.0f} s at most.")
        self.waited[error.busy] += 1
        time.sleep(pause)

    def _taken(self, az, done):
        """What there is of a write whose answer may have been lost; None where nothing is, or nobody can say."""
        try:
            return az(done["run"], done["args"], {})
        except AzError:
            return None


def text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def values(value):
    """What one option is given, as (text to show in front, value) pairs."""
    if isinstance(value, dict):
        return [(f"{key}=", text(each)) for key, each in value.items()]
    return [("", text(each)) for each in (value if isinstance(value, list) else [value])]


def options(args, *, hide=False):
    words = []
    for name, value in args.items():
        if value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words += [head + (HIDDEN if hide else each) for head, each in values(value)]
    return words


def is_reading(run):
    verbs = [word for word in shlex.split(run) if re.fullmatch(r"[a-z][a-z-]*", word)]
    return bool(verbs) and verbs[-1] in READING


def sentence(messages):
    """az's own message on one line, without what it repeats."""
    lines = [line.strip() for line in "\n".join(messages).splitlines()]
    kept = list(dict.fromkeys(line for line in lines if line and not REPEATED.match(line)))
    return " ".join(kept) or "az gave no reason"


def without(secrets, value):
    """``value`` with every secret replaced, and every part of one, quoted whole or cut short.

    Parts are the entries of a list, and of an entry ``name:key`` the key; a name is no secret. A short one is replaced
    only where it stands alone, as it may be part of any word.
    """
    if isinstance(value, dict):
        return {key: without(secrets, each) for key, each in value.items()}
    if isinstance(value, list):
        return [without(secrets, each) for each in value]
    if not isinstance(value, str):
        return value
    secrets = [each for each in secrets if not each.startswith("secretref:")]  # the name of a secret
    pairs = [pair.groups() for secret in secrets for entry in entries(secret) if (pair := PAIR.fullmatch(entry))]
    keys = {key for _, key in pairs} | {found for secret in secrets for found in PASSWORD.findall(secret)}
    whole = {each for secret in secrets for each in (secret, *entries(secret))}
    for secret in sorted(filter(None, whole | keys), key=len, reverse=True):
        found = re.escape(secret)
        value = re.sub(found if len(secret) >= LONG else rf"(?<![\w-]){found}(?![\w-])", HIDDEN, value)
    for name, key in pairs:
        value = without_beginning(name, key, value)
    for secret in sorted(keys | {each for each in whole if len(each) >= OPAQUE and "://" not in each}):
        value = without_pieces(secret, value)
    return value


def entries(secret):
    """The entries of a list, written as the relay takes one."""
    return [each.strip() for each in re.split(r"[,\r\n]", secret)]


def without_beginning(name, key, value):
    """``value`` with what follows ``name:`` replaced, as far as it is how ``key`` begins."""
    kept, *rest = re.split(rf"(?<![\w.-])(?={re.escape(name)}:)", value)
    for each in rest:
        said = each[len(name) + 1 :]
        cut = len(list(itertools.takewhile(lambda both: both[0] == both[1], zip(said, key, strict=False))))
        kept += f"{name}:{HIDDEN if cut else ''}{said[cut:]}"
    return kept


def without_pieces(secret, value):
    """``value`` with every piece of ``secret`` that is too long for chance replaced."""
    kept, at = "", 0
    while at < len(value):
        end = at + LONG
        if len(value[at:end]) < LONG or value[at:end] not in secret:
            kept, at = kept + value[at], at + 1
            continue
        while end < len(value) and value[at : end + 1] in secret:
            end += 1
        kept, at = kept + HIDDEN, end
    return kept


def azure_cli():
    """The CLI without the extensions of whoever runs it, which it looks for as soon as it is imported."""
    os.environ.update(NO_EXTENSIONS)
    from azure.cli.core import get_default_cli

    return get_default_cli()


class Az:
    """The CLI, and the secrets that no answer of it may show."""

    def __init__(self, secrets):
        self._cli = azure_cli()
        self._secrets = {each for value in secrets.values() for _, each in values(value)}
        self._said = Said()
        self._answers = Answers()

    @property
    def remarks(self):
        """Of the last command."""
        return without(self._secrets, self._said.remarks)

    def __enter__(self):
        # With a handler on the root az leaves logging alone.
        logging.getLogger().addHandler(self._said)
        self._answers.__enter__()
        return self

    def __exit__(self, *exception):
        self._answers.__exit__(*exception)
        logging.getLogger().removeHandler(self._said)

    def __call__(self, run, args, secrets):
        """The parsed answer; AzError when az says no."""
        self._said.messages.clear()
        self._said.remarks.clear()
        self._answers.begin()
        words = shlex.split(run) + options(args) + options(secrets)
        answer, printed = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            try:
                rc = self._cli.invoke([*words, "--output", "json"], out_file=answer)
            except SystemExit as refused:
                rc = refused.code
        found = json.loads(answer.getvalue() or "null")
        # Parts of az take a request that failed for no answer, or for an empty list.
        if rc or (not found and self._answers.busy):
            said = sentence(self._said.messages)
            named = BUSY.search(said)
            busy = self._answers.busy or (named[0] if named else "")
            why = without(self._secrets, said)
            last = self._answers
            how = {"status": last.status, "busy": busy, "retry_after": last.retry_after, "repeated": last.stumbled}
            # One whose command failed would apply that command's --query to the answer of the next one, too.
            self._cli = azure_cli()
            raise AzError(why, typed(run, args, secrets), rc, **how)
        return without(self._secrets, found if found is not None else printed.getvalue() or None)


def typed(run, args, secrets):
    """The command as an operator would type it."""
    return " ".join(["az", run, *map(shlex.quote, options(args)), *options(secrets, hide=True)])


def lines(answer):
    """An answer as a diff can be made of it."""
    return json.dumps(answer, indent=2, sort_keys=True) + "\n"


def outcome(az, patience, params, check_mode):
    """What the task returns."""
    ask = functools.partial(patience, az)
    run, args, secrets, reads = (params[each] for each in ("run", "args", "secrets", "reads"))
    command = typed(run, args, secrets)
    if is_reading(run):
        return {"changed": False, "value": ask(run, args, secrets), "command": command, "rc": 0}
    before = lines(ask(reads["run"], reads["args"], {})) if reads else ""
    if check_mode:
        diff = {"before": before, "after": f"would run: {command}\n"}
        return {"changed": True, "value": None, "command": command, "diff": diff}
    value, remarks = ask(run, args, secrets, params["done"]), az.remarks
    if not reads:
        return {"changed": True, "value": value, "remarks": remarks, "command": command, "rc": 0}
    after = lines(ask(reads["run"], reads["args"], {}))
    diff = {"before": before, "after": after}
    answer = {"value": value, "remarks": remarks, "command": command, "rc": 0}
    return {"changed": before != after, **answer, "diff": diff}


COMMAND = {"run": {"type": "str", "required": True}, "args": {"type": "dict", "default": {}}}
ARGUMENTS = {
    **COMMAND,
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "reads": {"type": "dict", "options": COMMAND},
    "done": {"type": "dict", "options": COMMAND},
    "patience": {"type": "float", "default": 300.0},
    "chdir": {"type": "path"},
}


def import_commands(group):
    """Imports what commands of that group need, which is most of what a short one takes. Without azure-cli nothing."""
    with contextlib.suppress(ImportError):
        cli = azure_cli()
        cli.commands_loader_cls(cli).load_command_table([group])


def answered(params, check_mode, say=lambda line: None):
    """What a task with these arguments returns, its failure too. ``say`` takes a line for whoever watches."""
    secrets = params["secrets"]
    invocation = {"module_args": {**params, "secrets": sorted(secrets)}}
    patience = Patience(params["patience"], say)
    try:
        with contextlib.chdir(params["chdir"] or "."), Az(secrets) as az:
            found = outcome(az, patience, params, check_mode)
            return found | {"waited": dict(patience.waited), "invocation": invocation}
    except ImportError as missing:
        msg = f"{missing}: install azure-cli beside Ansible, pip install -r requirements/rollout.txt"
        return {"failed": True, "msg": msg, "invocation": invocation}
    except AzError as error:
        said = {"msg": f"{error} ({error.command})", "command": error.command, "rc": error.rc, "status": error.status}
        return {"failed": True, **said, "invocation": invocation}


def main():
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    # Ansible would blot out every "25" of the answer because one secret is "25"; `without` is finer.
    module.no_log_values.clear()
    result = answered(module.params, module.check_mode)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
