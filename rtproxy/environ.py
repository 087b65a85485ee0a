"""What the variables of the environment say, one kind a method; what is wrong with them is collected.

What is absent, and has no default, is None, or empty. Each method takes the name of a variable.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from yarl import URL

from rtproxy.origins import allowed_origin
from rtproxy.proxies import Proxies

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?")
KEY_CHARACTERS = 16
"""A client's key is no shorter: guesses cost a stranger nothing but time."""
_EVENT_TYPE = re.compile(r"[a-z_]+(\.[a-z_]+)*")


def read_pairs(text: str, beside: Mapping[str, str] = {}) -> tuple[dict[str, str], list[str]]:
    """The name:key pairs of ``text``, a comma or a line each, and what is wrong with them, without a secret.

    None may repeat a name or a key of another, or of those ``beside``.
    """
    keys: dict[str, str] = {}
    problems = []
    entries = [entry.strip() for entry in re.split(r"[,\r\n]", text)]
    for position, entry in enumerate(filter(None, entries), start=1):
        name, _, key = entry.partition(":")
        if not (_NAME.fullmatch(name) and key and key.isascii() and key.isprintable() and " " not in key):
            problems.append(f"entry {position} is not a pair; accepted: name:key,name:key")
        elif any(name in each or key in each.values() for each in (keys, beside)):
            problems.append(f"entry {position} repeats a name or a key; accepted: each once")
        elif len(key) < KEY_CHARACTERS:
            problems.append(f"entry {position} has a short key; accepted: {KEY_CHARACTERS} characters or more")
        keys[name] = key
    return keys, problems


class Reader:
    """Reads variables and collects what is wrong with them, so that one start names everything."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        """The value without spaces around it; empty when it is absent."""
        return self._environ.get(name, "").strip()

    def required(self, name: str, accepted: str) -> str:
        value = self.text(name)
        if not value:
            self.problems.append(f"{name} is not set; accepted: {accepted}")
        return value

    def header(self, name: str) -> str | None:
        value = self._environ.get(name) or None
        if value is not None and not (value.isascii() and value.isprintable() and " " not in value):
            self.problems.append(
                f"{name} has a character that no HTTP header carries; accepted: printable ASCII, no space"
            )
        return value

    def endpoint(self, name: str) -> URL:
        accepted = (
            "https://NAME.openai.azure.com or .services.ai.azure.com, or http://127.0.0.1:PORT for a simulated model"
        )
        value = self.required(name, accepted)
        try:
            url = URL(value)
            sound = url.path in ("", "/") and not (url.query_string or url.fragment or url.user or url.password)
            sound = sound and (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host or "")))
            # A name that DNS cannot carry would fail every dial: an empty label, one of over 63 characters.
            sound = sound and bool((url.raw_host or "").encode("idna")) and url.port != 0
        except ValueError:
            url, sound = URL(), False
        if value and not sound:
            self.problems.append(f"{name} is not an endpoint; accepted: {accepted}")
        return url

    def host(self, name: str) -> str:
        value = self.text(name)
        try:
            value.encode("idna")
        except UnicodeError:
            self.problems.append(f"{name} is {value[:40]!r}; accepted: an address of this machine, or a name of one")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """From ``low`` to ``high``; None when it is absent."""
        return self._number(name, low, high, float, "a number")

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number from ``low`` to ``high``; None when it is absent."""
        number = self._number(name, low, high, int, "a whole number")
        return None if number is None else int(number)

    def _number(self, name: str, low: float, high: float, kind: type[int | float], word: str) -> float | None:
        value = self.text(name)
        if not value:
            return None
        try:
            number = float(kind(value))
        except (ValueError, OverflowError):
            number = -1.0
        if not low <= number <= high:
            self.problems.append(f"{name} is {value[:40]!r}; accepted: {word} from {low:g} to {high:.0f}")
        return number

    def flag(self, name: str) -> bool:
        value = self.text(name).lower()
        if value not in ("", "true", "false"):
            self.problems.append(f"{name} is {value[:40]!r}; accepted: true or false")
        return value == "true"

    def client_keys(self, name: str) -> dict[str, str]:
        keys, problems = read_pairs(self._environ.get(name, ""))
        self.problems += [f"{name}: {problem}" for problem in problems]
        return keys

    def keys_file(self, name: str) -> Path | None:
        """A file that can be read, of pairs that go with those of RTPROXY_CLIENT_KEYS."""
        keys, _ = read_pairs(self.text("RTPROXY_CLIENT_KEYS"))
        value = self.text(name)
        if not value:
            return None
        try:
            problems = read_pairs(Path(value).read_text(), keys)[1]
        except (OSError, ValueError) as problem:
            problems = [f"it cannot be read: {_reason(problem)}; accepted: a file of name:key pairs"]
        self.problems += [f"{name}: {problem}" for problem in problems]
        return Path(value)

    def issuer(self, name: str) -> str | None:
        """Kept as it was said: a token's ``iss`` has to be the same to the letter (OpenID Connect Core, 3.1.3.7)."""
        value = self.text(name)
        if value and not is_web(value):
            self.problems.append(f"{name} is not an issuer; accepted: https://login.microsoftonline.com/TENANT/v2.0")
        if value and not self.words("RTPROXY_OIDC_AUDIENCE"):
            self.problems.append("RTPROXY_OIDC_AUDIENCE is not set; accepted: what the issuer's tokens are for")
        return value or None

    def words(self, name: str) -> frozenset[str]:
        """A list, comma separated."""
        return frozenset(filter(None, (each.strip() for each in self._environ.get(name, "").split(","))))

    def somebody(self) -> None:
        """A relay that nobody could call has been set up wrong."""
        ways = ("RTPROXY_CLIENT_KEYS", "RTPROXY_CLIENT_KEYS_FILE", "RTPROXY_OIDC_ISSUER", "RTPROXY_ALLOW_ANONYMOUS")
        if all(self._environ.get(name, "").strip(" ,").lower() in ("", "false") for name in ways):
            self.problems.append(
                "RTPROXY_CLIENT_KEYS is not set, so nobody could call; accepted: name:key pairs, comma separated "
                "(or RTPROXY_CLIENT_KEYS_FILE, or RTPROXY_OIDC_ISSUER, or RTPROXY_ALLOW_ANONYMOUS=true to let "
                "everybody in)"
            )

    def api_version(self, name: str) -> str | None:
        """The date of a preview API; GA has none."""
        value = self.text(name)
        if value and not _VERSION.fullmatch(value):
            self.problems.append(f"{name} is {value[:40]!r}; accepted: a date, such as 2025-04-01-preview; for GA none")
        return value or None

    def origins(self, name: str) -> frozenset[str]:
        """Each as browsers write it, and without any an empty set."""
        value = self.text(name)
        origins = set()
        # Commas alone name none, and none would let all in: that is a slip, not a wish.
        for each in sorted(self.words(name)) or filter(None, [value]):
            try:
                origins.add(allowed_origin(each))
            except ValueError as problem:
                shown = re.sub(r"//.*@", "//...@", each)[:60]  # a password would stand before the @
                self.problems.append(
                    f"{name} has {shown!r}: {problem}; accepted: origins such as https://app.example.com or "
                    "https://*.example.com"
                )
        return frozenset(origins)

    def https_proxy(self, *ends: URL | str | None) -> Proxies:
        """Sound for every one of ``ends``, the URLs that the relay itself connects to."""
        proxies = Proxies.read(self._environ)
        for end in ends:
            try:
                proxies.of(URL(end or ""))
            except ValueError as problem:
                if (told := f"HTTPS_PROXY is {problem}") not in self.problems:
                    self.problems.append(told)
        return proxies

    def client_events(self, name: str) -> frozenset[str]:
        value = self.text(name)
        # Commas alone name none, and none would let all pass: that is a slip, not a wish.
        entries = self.words(name) or frozenset(filter(None, [value]))
        for entry in sorted(entries):
            if not _EVENT_TYPE.fullmatch(entry):
                self.problems.append(
                    f"{name} has {entry[:60]!r}; accepted: types of client events such as "
                    "input_audio_buffer.append, comma separated"
                )
        return entries

    def telemetry(self) -> frozenset[str]:
        """What goes to an OTLP endpoint: the SDK reads OTEL_* itself, and would fall silent over some of it."""
        if self._environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return frozenset()
        return frozenset(signal for signal in ("traces", "metrics") if self._exported(signal.upper()))

    def _exported(self, signal: str) -> bool:
        of_signal, of_all = f"OTEL_EXPORTER_OTLP_{signal}_", "OTEL_EXPORTER_OTLP_"
        if not any(self._environ.get(f"{prefix}ENDPOINT", "").strip() for prefix in (of_signal, of_all)):
            return False
        exporter = self._one_of(f"OTEL_{signal}_EXPORTER", ("otlp", "none"))
        protocol = f"{of_signal if self._environ.get(f'{of_signal}PROTOCOL') else of_all}PROTOCOL"
        return exporter == "otlp" and self._one_of(protocol, ("grpc",)) == "grpc"

    def _one_of(self, name: str, accepted: tuple[str, ...]) -> str:
        value = self.text(name).lower() or accepted[0]
        if value not in accepted:
            problem = f"{name} is {value[:40]!r}; accepted: {' or '.join(accepted)}"
            self.problems += [problem] if problem not in self.problems else []
        return value


def is_web(value: str) -> bool:
    """Whether ``value`` is a URL without secrets that nobody on the way can change: https, or http on loopback."""
    try:
        url = URL(value)
        sound = bool(url.host) and not (url.query_string or url.fragment or url.user or url.password)
        return sound and (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host or "")))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether nothing said to ``host`` leaves this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(problem: OSError | ValueError) -> str:
    return (problem.strerror or "") if isinstance(problem, OSError) else "it is not text"
