"""Every intent is one session, and CI calls the same ones: ``nox -l`` lists them."""

import hashlib
import json
import os
import re
import shutil
import sys
import time
import tomllib
from configparser import ConfigParser
from itertools import takewhile
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
# requirements/nox.txt has uv, which installs in seconds what takes pip minutes; without it, pip does.
nox.options.default_venv_backend = "uv|venv"

LOCKED = Path("requirements")
# Each file of requirements/, and the extras of setup.cfg that are in it. A package has one version in all of them.
LOCKS = {
    "everything": ("bench", "clients", "dev", "report", "rollout", "sdks", "stage", "telemetry", "test", "types"),
    "bench": ("bench",),
    "rehearsal": ("clients", "report", "rollout", "stage"),
    "rollout": ("clients", "report", "rollout"),
    "clients": ("clients",),
    "telemetry": ("telemetry",),
    "relay": (),
}
# These are tools of their own, and come without what the relay needs.
TOOLS = {"lint": ("lint",), "audit": ("audit",), "sbom": ("sbom",), "nox": ("dev",), "release": ("release",)}
TOOLS |= {"compile": ("types",)}
CODE = ("rtproxy", "clients", "stage", "bench", "playbooks", "tests", ".github", "noxfile.py")
# What pip calls to build a wheel of the folder that it runs in; sys.argv[1] is the folder that the wheel goes to.
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
INDEX_OF_OCI = "application/vnd.oci.image.index.v1+json"
INDEX_OF_DOCKER = "application/vnd.docker.distribution.manifest.list.v2+json"
# Most of a test of real processes is waiting: four at a time keep two cores busy, and a file's tests stay in order.
# They begin as tests/conftest.py has them, the longest first: by number, as xdist would, the few long ones come last.
SIDE_BY_SIDE = ("--numprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder")


# Images of Python set this. A session starts thousands of processes, and each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# nox has no word for "the interpreter at hand unless --python names another".
ASKED = any(each.startswith(("-p", "--python")) for each in takewhile(lambda each: each != "--", sys.argv))


@nox.session(python=["3.11", "3.12", "3.13"] if ASKED else None)
def tests(session: nox.Session) -> None:
    """The whole suite; arguments go to pytest. Another interpreter: nox -s tests --python 3.13"""
    install(session, "everything")
    session.run("python", "-m", "pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """All that is marked nightly, and each play with other failures: scenarios, kills, 300,000 states: an hour."""
    install(session, "everything")
    relay = ("test_strangers", "test_metrics_cost", "test_explorer")
    alone = "tests/stage/test_rehearse.py", *(f"tests/rtproxy/{each}.py" for each in relay)
    session.run("python", "-m", "pytest", "-m", "", *alone, *session.posargs)
    plays = "tests/playbooks", "tests/stage/test_interrupted.py"
    seed = {"STUMBLE_SEED": os.environ.get("STUMBLE_SEED") or str(int(time.time()))}
    session.run("python", "-m", "pytest", "-m", "", *SIDE_BY_SIDE, *plays, *session.posargs, env=seed)
    # And wherever else the marker is: nothing is left out because nobody named its folder here.
    others = "tests", *(f"--ignore={each}" for each in (*alone, *plays))
    marked = "-m", "nightly and not image"
    session.run("python", "-m", "pytest", *marked, *SIDE_BY_SIDE, *others, *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"] if ASKED else None)
def compiled(session: nox.Session) -> None:
    """The relay's tests with wire/ compiled by mypyc, in a copy of what git knows; arguments go to pytest."""
    install(session, "everything")
    tree = Path(session.create_tmp(), "tree").resolve()
    shutil.rmtree(tree, ignore_errors=True)
    for name in str(session.run("git", "ls-files", "-z", external=True, silent=True)).split("\0")[:-1]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, tree / name, follow_symlinks=False)
    with session.chdir(tree):
        session.run("python", "setup.py", "--quiet", "build_ext", "--inplace", env={"RTPROXY_COMPILE": "1"})
        tests = session.posargs or ["tests/rtproxy", "tests/faults"]
        session.run("python", "-m", "pytest", *SIDE_BY_SIDE, *tests, env={"RTPROXY_COMPILE": "1"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """A thousand random calls, drained; 100,000 malformed requests; streams of every kind, for half an hour or more."""
    install(session, "everything")
    tests = ("test_call_scripts", "test_fuzz_requests", "test_fuzz_frames")
    env = {"HYPOTHESIS_PROFILE": "long"}
    session.run(
        "python",
        "-m",
        "pytest",
        "--timeout",
        "0",
        *(f"tests/rtproxy/{each}.py" for each in tests),
        *session.posargs,
        env=env,
    )


@nox.session
def conformance(session: nox.Session) -> None:
    """The Autobahn test suite, directly and through the relay: ten minutes, needs a Python 2.7. -- --help"""
    install(session, "clients")
    become(session, "python", "-m", "stage.conformance", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of rtproxy/, relay processes included; fails below 95 %."""
    install(session, "everything")
    session.run("python", "-m", "pytest", "--cov", "--cov-report=term-missing", "--cov-fail-under=95", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, ansible-lint (production profile), hadolint: the image, zizmor: workflows, import-linter: the rooms."""
    install(session, "lint")
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)
    session.run(
        "ansible-lint", "--offline", "playbooks", env={"ANSIBLE_HOME": session.create_tmp(), "LC_ALL": "C.UTF-8"}
    )
    session.run("hadolint", "Containerfile")
    session.run("zizmor", "--offline", ".github")
    session.run("lint-imports", "--no-cache", "--no-logo", env={"PYTHONPATH": "."})


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict on rtproxy, clients, stage and bench."""
    install(session, "everything")
    session.run("mypy")


@nox.session
def bicep(session: nox.Session) -> None:
    """The template against ARM's schemas and the timeout budget; with a Bicep compiler, built and linted too."""
    install(session, "everything")
    session.run("python", "-m", "pytest", "tests/bicep", *session.posargs)
    # `az bicep install` puts the compiler beside az's settings, which is on nobody's PATH.
    places = os.pathsep.join((os.environ.get("PATH", ""), str(Path.home() / ".azure" / "bin")))
    compiler = shutil.which("bicep", path=places)
    if compiler is None:
        session.warn("No Bicep compiler here: nothing was built or linted. Get one with: az bicep install")
        return
    session.run(compiler, "build", "bicep/main.bicep", "--stdout", external=True, silent=True)
    session.run(compiler, "lint", "bicep/main.bicep", external=True)


@nox.session
def image(session: nox.Session) -> None:
    """Builds the image with podman or docker, starts it and holds it to its promises; arguments go to pytest."""
    install(session, "everything")
    session.run("python", "-m", "pytest", "-m", "image", "-rP", "tests/image", *session.posargs)


@nox.session
def hold(session: nox.Session) -> None:
    """Hold calls and judge them: against URL, or with none against a relay and a simulated model started here."""
    install(session, "clients")
    given = session.posargs
    has_url = any(arg.startswith(("ws://", "wss://", "http://", "https://")) for arg in given)
    if has_url or "--help" in given or "-h" in given:
        become(session, "python", "-m", "clients.hold", *given)
    else:
        become(session, "python", "-m", "stage.local", "--", "python", "-m", "clients.hold", *given)


@nox.session
def bench(session: nox.Session) -> None:
    """rtproxy beside nginx, Envoy and relays in Python, or itself at a commit: -- --quick | --beside COMMIT | --help"""
    install(session, "bench")
    become(session, "python", "-m", "bench", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Half an hour with 500 calls and random faults: do the books add up, does it grow? nox -s soak -- --minutes 3"""
    install(session, "rehearsal")
    become(session, "python", "-m", "stage.soak", *session.posargs)


@nox.session
def rehearse(session: nox.Session) -> None:
    """A whole blue/green rollout on this machine, with calls held and a verdict: nox -s rehearse -- --help"""
    install(session, "rehearsal")
    become(session, "python", "-m", "stage.rehearse", *session.posargs)


@nox.session
def sabotage(session: nox.Session) -> None:
    """Bad releases, each rolled out on the stage: is each one found, and by whom? nox -s sabotage -- --list"""
    install(session, "rehearsal")
    become(session, "python", "-m", "stage.sabotage", *session.posargs)


@nox.session
def interrupted(session: nox.Session) -> None:
    """Kills each play at each of its writes and runs it again; -- --seeds 20: every write fails at first. -- --help"""
    install(session, "rehearsal")
    become(session, "python", "-m", "stage.interrupted", *session.posargs)


@nox.session
def deploy(session: nox.Session) -> None:
    """Azure, from an empty group to a call through the gateway; a second run changes nothing. -- --check --diff"""
    play(session, "deploy.yml")


@nox.session
def teardown(session: nox.Session) -> None:
    """Deletes what deploy made, once you have typed the group's name."""
    play(session, "teardown.yml")


@nox.session
def serve(session: nox.Session) -> None:
    """The relay against the endpoint that the environment names."""
    install(session, "relay")
    become(session, "python", "-m", "rtproxy", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of all that is locked; secrets in the tree and in its history. Non-zero on a find."""
    install(session, "audit")
    # No credential that it finds is tried out (--no-validate), and none is shown (--redact).
    session.run("kingfisher", "scan", ".", "--no-validate", "--redact", "--no-update-check", "--quiet")
    locks = [word for lock in sorted(LOCKED.glob("*.txt")) for word in ("--requirement", str(lock))]
    # Strict: where the advisories cannot be asked, nothing has been audited, and that is no success.
    session.log("A package that 'could not be audited' is one whose advisories could not be reached: try again online.")
    session.run("pip-audit", "--strict", "--disable-pip", "--require-hashes", "--progress-spinner", "off", *locks)


@nox.session(venv_backend="none")
def pin(session: nox.Session) -> None:
    """Asks the registry which image the tag of the base is now, and writes its digest into the Containerfile."""
    file = Path("Containerfile")
    try:
        file.write_text(with_digest(file.read_text()))
    except (OSError, ValueError) as why:
        session.error(f"{why}: the Containerfile stays as it is")


@nox.session
def lock(session: nox.Session) -> None:
    """Pin everything anew into requirements/, by hash; -- --keep leaves alone every version that still fits."""
    install(session, "nox")
    upgrade = () if "--keep" in session.posargs else ("--upgrade",)
    before: list[str] = []
    for name, requirements in declared().items():
        wanted, locked = Path(session.create_tmp(), f"{name}.in"), LOCKED / f"{name}.txt"
        wanted.write_text(requirements)
        session.run(
            *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
            *("--fork-strategy", "fewest", "--generate-hashes", "--no-strip-extras", "--no-annotate", "--no-header"),
            *("--no-emit-index-url", "--no-emit-find-links", *upgrade),
            *(word for each in before for word in ("--constraint", each)),
            *("--output-file", str(locked), str(wanted)),
        )
        # In the file, so that whoever types no more than pip install -r builds nothing that is not ours, either.
        locked.write_text(f"# nox -s lock\n--only-binary :all:\n{locked.read_text()}")
        before.append(str(locked))


@nox.session
def release(session: nox.Session) -> None:
    """The wheel and the notes of a version, into dist/, from what is committed; its tag is the argument: -- v0.2.0"""
    if len(session.posargs) != 1:
        session.error("name the tag: nox -s release -- v0.2.0")
    dist, folder = Path("dist").resolve(), Path(session.create_tmp()).resolve()
    tree, archive = folder / "tree", folder / "tree.zip"
    # Of the commit, so that no file that lies about gets into the wheel; dated by it, so that two builds are the same.
    session.run("git", "archive", "--output", str(archive), "HEAD", external=True)
    dated = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)
    shutil.rmtree(tree, ignore_errors=True)
    shutil.unpack_archive(archive, tree)
    try:
        notes = notes_of(session.posargs[0], tree)
    except ValueError as why:
        session.error(f"{why}: nothing was built")
    install(session, "build")
    with session.chdir(tree):
        session.run("python", "-c", BUILD, str(dist), env={"SOURCE_DATE_EPOCH": str(dated).strip()}, silent=True)
    (dist / "notes.md").write_text(notes)
    session.log(f"{dist} has {', '.join(sorted(each.name for each in dist.iterdir()))}")


# What the sessions share.


def notes_of(tag: str, tree: Path) -> str:
    """What CHANGELOG.md says of the version that ``tag`` names. Raises ValueError unless ``tree`` is that version's."""
    version = re.findall(r'^__version__ = "(.+)"$', (tree / "rtproxy" / "__init__.py").read_text(), re.MULTILINE)[0]
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, but rtproxy/__init__.py has version {version}")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    found = re.search(rf"{heading}\n(.+?)(?=^## |\Z)", (tree / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"CHANGELOG.md has no heading with a date: ## [{version}] - YYYY-MM-DD")
    return f"{found[1].strip()}\n"


def become(session: nox.Session, *command: str) -> None:
    """The last step of a session that a person watches: nox makes way for ``command``.

    Its exit code and its Ctrl-C are the person's then; nox would fold the one into 1 and cut the other after 0.3 s.
    """
    session.log(" ".join(command))
    sys.stdout.flush()
    # uv stands beside nox, which need not be on PATH.
    path = os.pathsep.join((session.bin, os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
    os.execvpe(command[0], command, {**os.environ, "PATH": path})  # noqa: S606 - there is no shell to want


def play(session: nox.Session, name: str) -> None:
    """Runs a play; arguments go to ansible-playbook."""
    install(session, "rollout")
    become(session, "ansible-playbook", f"playbooks/{name}", *session.posargs)


def with_digest(containerfile: str) -> str:
    """The file with the digest that its base's tag has now. Raises ValueError, or OSError where no registry answers."""
    found = re.search(r"^FROM (\S+?)(?:@sha256:\w+)? AS pinned$", containerfile, re.MULTILINE)
    if found is None:
        raise ValueError("no line of the Containerfile is FROM IMAGE:TAG AS pinned")
    line = f"FROM {found[1]}@{digest(found[1])} AS pinned"
    return containerfile[: found.start()] + line + containerfile[found.end() :]


def digest(reference: str) -> str:
    """What HOST/NAME:TAG is at its registry now: the hash of the very bytes of its index of images."""
    host, _, rest = reference.partition("/")
    name, _, tag = rest.partition(":")
    # As engines do: docker.io is a name for another host, and a registry on this machine has no certificate.
    server = (
        f"http://{host}" if host.startswith("127.") else f"https://{host.replace('docker.io', 'registry-1.docker.io')}"
    )
    url = f"{server}/v2/{name}/manifests/{tag}"
    try:
        body = ask(url)
    except HTTPError as refused:
        if refused.code != 401:
            raise
        about = dict(re.findall(r'(\w+)="([^"]*)"', refused.headers.get("WWW-Authenticate", "")))
        scope = urlencode({"service": about.get("service", ""), "scope": f"repository:{name}:pull"})
        granted = json.loads(ask(f"{about.get('realm')}?{scope}"))
        body = ask(url, f"Bearer {granted.get('token') or granted.get('access_token')}")
    if "manifests" not in json.loads(body):
        raise ValueError(f"{server} has no index of images for {reference}")
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def ask(url: str, authorization: str = "") -> bytes:
    """What a registry, or who gives it tokens, answers. Raises OSError."""
    accept = ", ".join((INDEX_OF_OCI, INDEX_OF_DOCKER))
    request = Request(url, headers={"Accept": accept} | ({"Authorization": authorization} if authorization else {}))  # noqa: S310
    with urlopen(request, timeout=30) as answer:  # noqa: S310
        return bytes(answer.read())


def declared() -> dict[str, str]:
    """What each file of requirements/ is made from: a line a requirement, of setup.cfg and of pyproject.toml."""
    setup = ConfigParser()
    setup.read("setup.cfg")
    extras, relay = setup["options.extras_require"], setup["options"]["install_requires"]
    locks = {name: "\n".join((relay, *(extras[each] for each in names))) for name, names in LOCKS.items()}
    tools = {name: "\n".join(extras[each] for each in names) for name, names in TOOLS.items()}
    build = "\n".join(tomllib.loads(Path("pyproject.toml").read_text())["build-system"]["requires"])
    return locks | tools | {"build": build}


def install(session: nox.Session, name: str) -> None:
    """Installs requirements/``name``.txt by hash, and where that has what the relay needs, the project: editable."""
    files = (name, "build") if name in LOCKS else (name,)
    session.install("--require-hashes", *(word for each in files for word in ("--requirement", f"{LOCKED / each}.txt")))
    if name in LOCKS:
        session.install("--no-deps", "--no-build-isolation", "--editable", ".")
