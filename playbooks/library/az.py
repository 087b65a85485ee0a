#!/usr/bin/python
"""Run one command of the Azure CLI: honest about what it changed, and about what it would change."""

import contextlib
import io
import itertools
import json
import logging
import re
import shlex

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: az
short_description: Run one command of the Azure CLI
description:
  - Runs the command in this process, through azure-cli-core, with the cloud, the subscription and the login of C(az).
  - A reading verb (show, list, list-deleted, exists, show-tags, validate, what-if, version) never changes anything, and
    runs in check mode too. Every other verb writes; in check mode it is only reported.
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
  description: The answer of the command, parsed; null in check mode for a writing verb.
  type: raw
  returned: success
command:
  description: What an operator would type; secrets are replaced.
  type: str
  returned: always
rc:
  description: The exit code of az.
  type: int
  returned: always, but not in check mode for a writing verb
"""

READING = {"show", "list", "list-deleted", "exists", "show-tags", "validate", "what-if", "version"}
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
    def __init__(self, message, command, rc):
        super().__init__(message)
        self.command, self.rc = command, rc


class Errors(logging.Handler):
    """Where az says why: the exception alone is empty when its parser refuses an argument."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())
        if record.exc_info:
            # az tripped over the service's refusal, which is what the exception came from.
            cause = record.exc_info[1]
            while cause.__context__ is not None:
                cause = cause.__context__
            self.messages[:] = [str(cause)]


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


class Az:
    """The CLI, and the secrets that no answer of it may show."""

    def __init__(self, secrets):
        from azure.cli.core import get_default_cli

        self._cli = get_default_cli()
        self._secrets = {each for value in secrets.values() for _, each in values(value)}
        self._errors = Errors()

    def __enter__(self):
        # With a handler on the root az leaves logging alone, and its warnings stay unsaid.
        logging.getLogger().addHandler(self._errors)
        return self

    def __exit__(self, *_):
        logging.getLogger().removeHandler(self._errors)

    def __call__(self, run, args, secrets):
        """The parsed answer; AzError when az says no."""
        self._errors.messages.clear()
        words = shlex.split(run) + options(args) + options(secrets)
        answer = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                rc = self._cli.invoke([*words, "--output", "json"], out_file=answer)
            except SystemExit as refused:
                rc = refused.code
        if rc:
            raise AzError(without(self._secrets, sentence(self._errors.messages)), typed(run, args, secrets), rc)
        return without(self._secrets, json.loads(answer.getvalue() or "null"))


def typed(run, args, secrets):
    """The command as an operator would type it."""
    return " ".join(["az", run, *map(shlex.quote, options(args)), *options(secrets, hide=True)])


def lines(answer):
    """An answer as a diff can be made of it."""
    return json.dumps(answer, indent=2, sort_keys=True) + "\n"


def outcome(az, run, args, secrets, reads, check_mode):
    """What the task returns."""
    command = typed(run, args, secrets)
    if is_reading(run):
        return {"changed": False, "value": az(run, args, secrets), "command": command, "rc": 0}
    before = lines(az(reads["run"], reads["args"], {})) if reads else ""
    if check_mode:
        diff = {"before": before, "after": f"would run: {command}\n"}
        return {"changed": True, "value": None, "command": command, "diff": diff}
    value = az(run, args, secrets)
    if not reads:
        return {"changed": True, "value": value, "command": command, "rc": 0}
    after = lines(az(reads["run"], reads["args"], {}))
    diff = {"before": before, "after": after}
    return {"changed": before != after, "value": value, "command": command, "rc": 0, "diff": diff}


COMMAND = {"run": {"type": "str", "required": True}, "args": {"type": "dict", "default": {}}}
ARGUMENTS = {
    **COMMAND,
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "reads": {"type": "dict", "options": COMMAND},
    "chdir": {"type": "path"},
}


def import_commands(group):
    """Imports what commands of that group need, which is most of what a short one takes. Without azure-cli nothing."""
    with contextlib.suppress(ImportError):
        from azure.cli.core import get_default_cli

        cli = get_default_cli()
        cli.commands_loader_cls(cli).load_command_table([group])


def answered(params, check_mode):
    """What a task with these arguments returns, its failure too."""
    run, args, secrets, reads = (params[each] for each in ("run", "args", "secrets", "reads"))
    invocation = {"module_args": {**params, "secrets": sorted(secrets)}}
    try:
        with contextlib.chdir(params["chdir"] or "."), Az(secrets) as az:
            return outcome(az, run, args, secrets, reads, check_mode) | {"invocation": invocation}
    except ImportError as missing:
        msg = f"{missing}: install azure-cli beside Ansible, pip install -r requirements/rollout.txt"
        return {"failed": True, "msg": msg, "invocation": invocation}
    except AzError as error:
        said = {"msg": f"{error} ({error.command})", "command": error.command, "rc": error.rc}
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
