"""The az module, run by ansible against the stage."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.playbooks.conftest import BIN, DEADLINE_S, PLAYBOOKS, Stage, environment, inject

APP = {"name": "rtproxy", "resource_group": "rehearsal"}
AFFINITY = {
    "run": "containerapp show",
    "args": {**APP, "query": "properties.configuration.ingress.stickySessions.affinity"},
}


Told = dict[str, tuple[dict[str, Any], str]]
IN_ITS_TASK = {"ANSIBLE_ACTION_PLUGINS": str(PLAYBOOKS / "action_plugins")}
"""As a play has it, which finds the plugin beside itself."""


def az(
    environ: dict[str, str], task: dict[str, Any], *flags: str, way: dict[str, str] = IN_ITS_TASK
) -> tuple[dict[str, Any], str]:
    """What the task returned, and everything ansible printed."""
    words = [str(BIN / "ansible"), "stage", "-i", str(PLAYBOOKS / "inventories" / "stage.yml"), "-m", "az"]
    command = [*words, "-M", str(PLAYBOOKS / "library"), "-a", json.dumps(task), *flags]
    done = subprocess.run(command, env=environ | way, capture_output=True, text=True, timeout=DEADLINE_S)
    _, arrow, result = done.stdout.partition(" => ")
    assert arrow, done.stdout + done.stderr
    returned: dict[str, Any] = json.JSONDecoder().raw_decode(result)[0]
    return returned, done.stdout + done.stderr


def several(
    tmp_path: Path, environ: dict[str, str], tasks: dict[str, dict[str, Any]], way: dict[str, str] = IN_ITS_TASK
) -> Told:
    """What `az` says of each task, by its name; one ansible runs them one after the other, as it is slow to start.

    A task is what a play has under its name: ``{"az": {...}, "check_mode": True}``.
    """
    registered = {name: f"result_{at}" for at, name in enumerate(tasks)}
    listed = [
        {"name": name, "register": registered[name], "ignore_errors": True, **task} for name, task in tasks.items()
    ]
    told = "{{ {" + ", ".join(f"'{name}': {result}" for name, result in registered.items()) + "} }}"
    last = {"name": "all", "ansible.builtin.debug": {"msg": told}}
    play = tmp_path / "several.yml"
    play.write_text(json.dumps([{"hosts": "stage", "gather_facts": False, "tasks": [*listed, last]}]))
    words = [str(BIN / "ansible-playbook"), "-i", str(PLAYBOOKS / "inventories" / "stage.yml"), str(play)]
    done = subprocess.run(
        [*words, "-M", str(PLAYBOOKS / "library")],
        env=environ | way,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    printed = dict(re.findall(r"^TASK \[(.+?)\] \*+\n(.*?)(?=^TASK |\Z)", done.stdout, re.MULTILINE | re.DOTALL))
    assert "all" in printed, done.stdout + done.stderr
    found = json.JSONDecoder().raw_decode(printed["all"].partition(" => ")[2])[0]["msg"]
    return {name: (found[name], printed[name]) for name in tasks}


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """The module itself, without ansible."""
    spec = importlib.util.spec_from_file_location("az", PLAYBOOKS / "library" / "az.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def before_a_login(home: Path) -> dict[str, str]:
    return environment(home / "ansible", AZURE_CONFIG_DIR=str(home / "azure"), AZURE_CORE_COLLECT_TELEMETRY="no")


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """No stage: az as it is before anybody logged in."""
    return before_a_login(tmp_path)


STICKY = {
    "run": "containerapp ingress sticky-sessions set",
    "args": {**APP, "affinity": "sticky"},
    "reads": AFFINITY,
}
NOBODY = {"run": "containerapp ingress traffic set", "args": {**APP, "revision_weight": {"rtproxy--nobody": 100}}}


@pytest.fixture(scope="module")
def told(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What the module says of a read, a check, a write, the same write again, and one that is refused."""
    tasks: dict[str, dict[str, Any]] = {
        "read": {"az": {"run": "containerapp show", "args": {**APP, "query": "name"}}},
        "check": {"az": STICKY, "check_mode": True, "diff": True},
        "read in a check": {"az": AFFINITY, "check_mode": True},
        "write": {"az": STICKY, "diff": True},
        "write again": {"az": STICKY},
        "refused": {"az": NOBODY},
    }
    try:
        return several(tmp_path_factory.mktemp("told"), stage.environ, tasks)
    finally:
        stage.az("containerapp", "ingress", "sticky-sessions", "set", "--affinity", "none")


def test_a_reading_verb_answers_and_never_changes_anything(told: Told) -> None:
    result, _ = told["read"]
    assert result["changed"] is False
    assert result["value"] == "rtproxy"
    assert result["command"] == "az containerapp show --name rtproxy --resource-group rehearsal --query name"


def test_a_writing_verb_is_changed_when_what_it_reads_differs_afterwards(told: Told) -> None:
    first, printed = told["write"]
    assert first["changed"] is True
    assert '-"none"' in printed
    assert '+"sticky"' in printed
    assert told["write again"][0]["changed"] is False


def test_check_mode_sends_nothing_and_tells_the_command(told: Told) -> None:
    result, printed = told["check"]
    assert result["changed"] is True
    assert "would run: az containerapp ingress sticky-sessions set --name rtproxy" in printed
    assert told["read in a check"][0]["value"] == "none"


def test_a_failure_has_the_words_of_az_the_command_and_its_exit_code(told: Told) -> None:
    result, _ = told["refused"]
    assert "'rtproxy--nobody' is not a valid revision name" in result["msg"]
    assert result["msg"].endswith(f"({result['command']})")
    assert result["rc"] == 1
    assert "\n" not in result["msg"]


AS_A_MODULE = "as a module, like an async task"
BOTH_WAYS = pytest.mark.parametrize("way", [IN_ITS_TASK, {}], ids=["in its task", AS_A_MODULE])
# Of what differs between the two, the suite has one test both ways: what is hidden.
ONE_WAY = pytest.mark.parametrize(
    "way",
    [
        pytest.param(IN_ITS_TASK, id="in its task"),
        pytest.param({}, id=AS_A_MODULE, marks=pytest.mark.nightly),
    ],
)


WORDY = {"a_flag": True, "left_out": None, "off": False, "words": ["a b", 2], "pairs": {"K": "v=w", "N": 1}}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(IN_ITS_TASK, id="in its task"),
        pytest.param({}, id=AS_A_MODULE, marks=pytest.mark.nightly),
    ],
)
def said(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What the module says where there is no stage."""
    here = tmp_path_factory.mktemp("here")
    (here / "cloud.json").write_text("{}")
    registering = {"name": "Here", "cloud_config": "@cloud.json"}
    tasks: dict[str, dict[str, Any]] = {
        "wrong option": {"az": {"run": "cloud show", "args": {"colour": "green"}}},
        "unknown argument": {"az": {"run": "cloud show", "argz": {}}},
        "elsewhere": {"az": {"run": "cloud register", "args": registering, "chdir": str(here)}},
        "wordy": {"az": {"run": "cloud set", "args": WORDY}, "check_mode": True},
    }
    return several(here, before_a_login(here), tasks, request.param)


def test_a_wrong_option_is_named(said: Told) -> None:
    result, _ = said["wrong option"]
    assert result["msg"] == "unrecognized arguments: --colour green (az cloud show --colour green)"
    assert result["rc"] == 2


def test_an_unknown_argument_is_named(said: Told) -> None:
    result, _ = said["unknown argument"]
    assert "Unsupported parameters for (az) module: argz" in result["msg"]


def test_a_command_runs_where_it_is_told(said: Told) -> None:
    result, _ = said["elsewhere"]
    assert "The following endpoints are required" in result["msg"], "az read the file"


def test_arguments_become_flags_words_and_pairs(said: Told) -> None:
    result, _ = said["wordy"]
    assert result["command"] == "az cloud set --a-flag --words 'a b' 2 --pairs K=v=w N=1"


@ONE_WAY
def test_no_extension_of_the_person_replaces_a_command(
    nowhere: dict[str, str], tmp_path: Path, way: dict[str, str]
) -> None:
    """As the extension containerapp replaces the commands of the CLI that have its name."""
    hostile = Path(nowhere["AZURE_CONFIG_DIR"]) / "cliextensions" / "cloud"
    (hostile / "azext_cloud").mkdir(parents=True)
    (hostile / "azext_cloud" / "azext_metadata.json").write_text('{"azext.minCliCoreVersion": "2.0.0"}')
    (hostile / "azext_cloud" / "__init__.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w').close()")
    (hostile / "cloud-1.0.0.dist-info").mkdir()
    (hostile / "cloud-1.0.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: cloud\nVersion: 1.0.0\n")
    by_hand = subprocess.run([BIN / "az", "cloud", "show"], env=nowhere, capture_output=True, timeout=DEADLINE_S)
    assert (tmp_path / "loaded").exists(), by_hand.stderr
    (tmp_path / "loaded").unlink()
    (Path(nowhere["AZURE_CONFIG_DIR"]) / "commandIndex.json").unlink(missing_ok=True)
    result, _ = az(nowhere, {"run": "cloud show", "args": {"query": "name"}}, way=way)
    assert result["value"] == "AzureCloud"
    assert not (tmp_path / "loaded").exists()


@BOTH_WAYS
def test_secrets_appear_nowhere(nowhere: dict[str, str], way: dict[str, str]) -> None:
    hidden = {"token": "tok-0123456789", "vars": {"SHORT": "s3", "PIN": 4711}}
    result, printed = az(
        nowhere, {"run": "cloud set", "args": {"name": "AzureCloud"}, "secrets": hidden}, "-vv", way=way
    )
    assert result["command"] == "az cloud set --name AzureCloud --token *** --vars SHORT=*** PIN=***"
    said = json.dumps(result) + printed.partition("Origin:")[0]
    assert not [secret for secret in ("tok-0123456789", "s3", "4711") if secret in said]


ADA, BATCH = "0123456789abcdef", "2b2bQ9x+/Zk4=mm-77WW"
LIST = f"ada:{ADA},batch:{BATCH}"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"the value {LIST} is not valid", "the value *** is not valid"),
        (f"entry batch:{BATCH}", "entry ***"),
        (f"a header of {BATCH}!", "a header of ***!"),
        ("entry batch:2b2b...", "entry batch:***..."),
        ("entry ada:0, then nothing", "entry ada:***, then nothing"),
        (f"{LIST[:30]}... is too long", "***,batch:***... is too long"),
        (f"...{LIST[-20:]} is too long", "...*** is too long"),
        (f"near {BATCH[:9]}...", "near ***..."),
        (f"near ...{BATCH[5:14]}...", "near ...***..."),
        (f"'{BATCH[:10]} {BATCH[10:]}'", "'*** ***'"),
        ("batch: no such name, ada-2:0123 neither", "batch: no such name, ada-2:0123 neither"),
    ],
)
def test_no_part_of_a_list_of_keys_is_said_quoted_or_cut_short(module: ModuleType, said: str, shown: str) -> None:
    assert module.without({LIST}, said) == shown
    assert module.without({LIST}, {"in": [said]}) == {"in": [shown]}


@pytest.mark.parametrize("between", [",", ", ", "\n", "\r\n"])
def test_keys_are_found_however_their_list_is_written(module: ModuleType, between: str) -> None:
    said = module.without({f"ada:{ADA}{between}batch:{BATCH}"}, f"{BATCH} and {ADA}")
    assert said == "*** and ***"


def test_every_beginning_of_a_key_that_a_message_can_have_is_hidden(module: ModuleType) -> None:
    for at in range(1, len(BATCH) + 1):
        assert BATCH[:at] not in module.without({LIST}, f"entry batch:{BATCH[:at]}...").removeprefix("entry batch:")
    for at in range(module.LONG, len(BATCH) + 1):
        assert BATCH[: module.LONG] not in module.without({LIST}, f"not {BATCH[:at]}...")


def test_a_password_in_a_url_is_hidden_and_the_rest_of_a_message_stays_readable(module: ModuleType) -> None:
    secrets = {
        "http://me:pass-word-1@proxy.example:3128",
        "secretref:client-keys",
        "https://relay.example.com/v1",
        "25",
    }
    said = "secret client-keys: https://aka.ms/x and 25 of 251 by pass-word-1 at relay.example.org"
    assert (
        module.without(secrets, said)
        == "secret client-keys: https://aka.ms/x and *** of 251 by *** at relay.example.org"
    )


PATIENCE_S = 20
"""Longer than az takes for two requests on a busy machine."""
AFFINE = {"run": "containerapp ingress sticky-sessions set", "args": {**APP, "affinity": "none"}, "reads": AFFINITY}


@ONE_WAY
@pytest.mark.parametrize(
    "kind",
    [
        "answer lost",
        "locked",
        *(pytest.param(each, marks=pytest.mark.nightly) for each in ("lost", "throttled", "unavailable")),
    ],
)
def test_a_busy_service_is_asked_until_it_takes_a_write(stage: Stage, kind: str, way: dict[str, str]) -> None:
    inject(stage, "stumble", kinds=[kind], most=1)
    try:
        result, printed = az(stage.environ, {**AFFINE, "patience": DEADLINE_S}, way=way)
    finally:
        inject(stage, "none")
    assert result["changed"] is False, printed
    assert sum(result["waited"].values()) >= 1
    said = {"throttled": "429 TooManyRequests", "unavailable": "503 ", "locked": "409 ContainerAppLockConflict"}
    assert any(why.startswith(said.get(kind, "the connection broke")) for why in result["waited"])


def test_what_is_read_again_after_a_failure_is_read_as_it_was_asked_for(stage: Stage) -> None:
    query = "[].{name: name, image: properties.template.containers[0].image}"
    reading = {"run": "containerapp revision list", "args": {**APP, "query": query}}
    before = stage.az("containerapp", "revision", "list", "--query", query)
    inject(stage, "stumble", kinds=["lost"], writes=0, reads=1, most=1)
    try:
        result, printed = az(stage.environ, {**reading, "patience": DEADLINE_S})
    finally:
        inject(stage, "none")
    assert result["waited"], printed
    assert result["value"] == before


def test_a_service_that_stays_busy_is_named_with_what_it_was_busy_with(stage: Stage) -> None:
    inject(stage, "stumble", kinds=["locked"], most=10**6)
    try:
        result, printed = az(stage.environ, {**AFFINE, "patience": PATIENCE_S})
        refused, _ = az(stage.environ, {**AFFINE, "patience": 0})
    finally:
        inject(stage, "none")
    assert (
        "because another modification is in progress. Please retry the operation. The service was busy for"
        in result["msg"]
    )
    said = r"in which it was asked \d+ times: 409 ContainerAppLockConflict \(az containerapp ingress"
    assert re.search(said, result["msg"])
    assert result["status"] == 409
    assert re.search(r"409 ContainerAppLockConflict. It is asked again, for \d+ s at most.", printed)
    assert "was asked" not in refused["msg"]


def test_an_app_whose_connection_broke_is_not_said_to_be_missing(stage: Stage) -> None:
    inject(stage, "stumble", kinds=["lost"], writes=0, reads=1, most=10**6)
    try:
        result, _ = az(stage.environ, {**AFFINE, "reads": None, "patience": PATIENCE_S})
    finally:
        inject(stage, "none")
    assert "The service was busy for" in result["msg"]
    assert result["status"] is None


def test_secrets_that_could_not_be_read_are_not_said_to_be_none(stage: Stage) -> None:
    inject(stage, "stumble", writes=0, reads=1, most=1)
    args = {"name": "rtproxy", "resource_group": "rehearsal", "show_values": True, "query": "[].name"}
    try:
        result, _ = az(stage.environ, {"run": "containerapp secret list", "args": args, "patience": DEADLINE_S})
    finally:
        inject(stage, "none")
    assert sorted(result["value"]) == ["client-keys", "model-key"]


class Answering:
    """An az that answers as it is told, one answer a command, or refuses."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, run: str, args: dict[str, Any], secrets: dict[str, Any]) -> Any:
        self.asked.append(run)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_write_whose_answer_was_lost_is_not_repeated_where_it_was_taken(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0)
    lost = module.AzError("Connection aborted.", "az", 1, None, "the connection broke")
    missing = module.AzError("Not Found", "az", 1, 404)
    done = {"run": "revision show", "args": {}}
    taken = Answering(lost, "app--green")
    assert module.Patience(9)(taken, "update", {}, {}, done) == "app--green"
    assert taken.asked == ["update", "revision show"]
    anew = Answering(lost, missing, "app--green")
    assert module.Patience(9)(anew, "update", {}, {}, done) == "app--green"
    assert anew.asked == ["update", "revision show", "update"]


def test_what_is_gone_when_its_deletion_is_said_again_was_deleted(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0)
    lost = module.AzError("Connection aborted.", "az", 1, None, "the connection broke")
    missing = module.AzError("Not Found", "az", 3, 404)
    by_itself = module.AzError("Not Found", "az", 3, 404, repeated=True)
    assert module.Patience(9)(Answering(lost, missing), "group delete", {}, {}) is None
    assert module.Patience(9)(Answering(by_itself), "group delete", {}, {}) is None
    for run, answers in (("group delete", [missing]), ("group show", [lost, missing])):
        with pytest.raises(module.AzError):
            module.Patience(9)(Answering(*answers), run, {}, {})
