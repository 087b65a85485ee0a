"""Runs a play of the workflow with what was typed for it, and stays logged in to Azure for as long as it takes.

    python .github/play.py PLAY [--check]

What Azure gives for a token of GitHub holds for about an hour, and az cannot renew it: the token of GitHub is good for
minutes. So a new one is fetched while the play runs, and az is logged in anew; tasks begin with what they find there.

The environment has the login (AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_SUBSCRIPTION_ID, and ACTIONS_ID_TOKEN_REQUEST_URL
and _TOKEN from GitHub), what was typed (RELEASE, STEPS, DRAIN_TIMEOUT, VARIABLES) and what the play reads itself.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

AUDIENCE = "api://AzureADTokenExchange"
RELEASE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
STEPS = re.compile(r"\d{1,3}(, *\d{1,3})*")
# Ansible evaluates what stands in these.
TEMPLATE = re.compile(r"\{\{|\{%|\{#")
# Of a login and of a try after one that failed.
RENEWAL_S = 1800.0
AGAIN_S = 60.0


class Mistyped(Exception):
    """Says what an input takes."""


def variables(typed: Mapping[str, str]) -> dict[str, object]:
    """The play's variables, of what was typed. Raises Mistyped."""
    found: dict[str, object] = {}
    if text := typed.get("VARIABLES", "").strip():
        try:
            given = json.loads(text)
        except ValueError as why:
            raise Mistyped(f"variables: not JSON: {why}") from None
        if not isinstance(given, dict):
            raise Mistyped('variables: a JSON object, {"ready_timeout": 600}')
        if TEMPLATE.search(json.dumps(given)):
            raise Mistyped("variables: values as they are, without an expression for Ansible to evaluate")
        found |= given
    if release := typed.get("RELEASE", "").strip():
        if not RELEASE.fullmatch(release):
            raise Mistyped("release: lower-case letters, digits and single dashes")
        found["release"] = release
    if steps := typed.get("STEPS", "").strip():
        if not STEPS.fullmatch(steps):
            raise Mistyped("steps: shares of new calls, 10, 50, 100")
        found["traffic_steps"] = [int(each) for each in steps.split(",")]
    if drain := typed.get("DRAIN_TIMEOUT", "").strip():
        if not drain.isdigit():
            raise Mistyped("drain_timeout: a number of seconds")
        found["drain_timeout"] = int(drain)
    return found


def log_in(environ: Mapping[str, str]) -> None:
    """Logs az in with a fresh token of GitHub's. The token is in no argument: whoever lists processes would read it."""
    url = f"{environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={AUDIENCE}"
    bearer = {"Authorization": f"bearer {environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=bearer), timeout=30) as answer:
        token = json.load(answer)["value"]
    with tempfile.NamedTemporaryFile("w", suffix=".token") as file:
        file.write(token)
        file.flush()
        who = ["--service-principal", "--username", environ["AZURE_CLIENT_ID"], "--tenant", environ["AZURE_TENANT_ID"]]
        az(["login", *who, "--federated-token", f"@{file.name}", "--allow-no-subscriptions"])
    az(["account", "set", "--subscription", environ["AZURE_SUBSCRIPTION_ID"]])


def az(words: list[str]) -> None:
    subprocess.run(["az", *words, "--output", "none"], check=True, timeout=120)


def keep_logged_in(environ: Mapping[str, str], ended: threading.Event, renewal_s: float = RENEWAL_S) -> None:
    """Until ``ended``. What failed is tried again: the login that there is holds for a while."""
    due = time.monotonic() + renewal_s
    while not ended.wait(max(0.0, due - time.monotonic())):
        try:
            log_in(environ)
            due = time.monotonic() + renewal_s
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as why:
            print(f"::warning::az was not logged in anew: {why}", flush=True)
            due = time.monotonic() + min(AGAIN_S, renewal_s)


def main(play: str, flags: list[str], environ: Mapping[str, str]) -> int:
    """The exit code of the play."""
    try:
        given = variables(environ)
    except Mistyped as why:
        print(f"::error::{why}")
        return 2
    log_in(environ)
    ended = threading.Event()
    renewal_s = float(environ.get("RENEWAL_SECONDS", RENEWAL_S))
    threading.Thread(target=keep_logged_in, args=(environ, ended, renewal_s), daemon=True).start()
    words = ["ansible-playbook", f"playbooks/{play}.yml", "--diff", "--extra-vars", json.dumps(given), *flags]
    running = subprocess.Popen(words, cwd=Path(__file__).parents[1])
    # GitHub ends a job by these: the play ends what it holds, and is waited for.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: running.send_signal(number))
    with contextlib.suppress(KeyboardInterrupt):
        running.wait()
    ended.set()
    return running.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:], os.environ))
