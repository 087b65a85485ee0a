"""The command line of a hold, checked as a whole: every problem is named at once, then exit 2."""

from __future__ import annotations  # array[int] has no run-time form before Python 3.12

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients import speech
from clients.kinds import KINDS
from clients.observations import Record
from clients.options import CommandLine
from clients.summary import Limits
from clients.target import Target, target

KEY_VARIABLE = "RTPROXY_KEY"
DEFAULT_KIND = "vad"

DESCRIPTION = """\
Hold voice calls against a WebSocket relay in front of gpt-realtime, or the model itself. Each call
talks, listens, pings and measures; the hold fails when one is cut before its time.
"""

KINDS_HELP = "kinds of call:\n" + "".join(f"  {name:13} {kind.about}\n" for name, kind in KINDS.items())

EXAMPLES = """\
examples:
  python -m clients.hold ws://127.0.0.1:8080 --connections 5 --duration 60
  RTPROXY_KEY=... python -m clients.hold https://voice.example.com --duration 1800 --record hold.jsonl
  python -m clients.hold wss://voice.example.com/ws --connections 500 --ramp 60 --max-connect-p95-ms 800
  python -m clients.hold ws://127.0.0.1:8080 --kinds vad,vad,push-to-talk,tools,silent,long --tool-seconds 10
  python -m clients.hold http://app--green.stage.localhost --connect-to 127.0.0.1:8081 --call-seconds 30
  python -m clients.hold https://127.0.0.1:8443 --ca-file stage.pem --reconnect --max-cut 5 --json

exit code:
  0 every limit held, 1 one did not, or turns were to be completed and none was, 2 bad arguments,
  3 no session ever opened, 130 interrupted before anything could be judged
"""

# flag, kind, least, default, help. The least time above nothing is a tenth of a second: one piece of audio.
NUMBERS: tuple[tuple[str, type[int | float], float, float | None, str], ...] = (
    ("--connections", int, 1, 5, "calls held at the same time"),
    ("--duration", float, 0.1, 60, "seconds from the end of the ramp to the common end"),
    ("--ramp", float, 0, 0, "seconds over which the calls connect, evenly"),
    ("--call-seconds", float, 0, 0, "seconds, about, after which a call hangs up and a new one begins; 0: at the end"),
    ("--ping-interval", float, 0, 30, "seconds between two pings of a call; 0: never"),
    ("--talk-every", float, 0, 15, "seconds between two turns of a call, jittered; 0: never"),
    ("--utterance", float, 0.1, 2, "seconds of speech in a turn"),
    ("--turn-deadline", float, 1, 20, "seconds from the end of speech, or from asking again, to the end of the answer"),
    ("--tool-seconds", float, 0, 30, "seconds, at most, that a function of the kind tools runs"),
    ("--max-cut", int, 0, 0, "sessions cut before their time, refused ones included"),
    ("--max-connect-p95-ms", float, 0, None, "time from dialling to the 101"),
    ("--max-rtt-p95-ms", float, 0, None, "time from ping to pong"),
    ("--max-first-audio-p95-ms", float, 0, None, "time from the end of speech to the first audio"),
    ("--max-failed-turns", int, 0, None, "turns that did not end as completed; throttled and unanswered ones apart"),
    ("--max-faults", int, 0, None, "things heard that no healthy model sends: cross-talk, lost audio and the like"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One hold. Times in seconds; `call_seconds`, `ping_interval` and `talk_every` 0 mean never."""

    target: Target
    connections: int
    duration: float
    ramp: float
    call_seconds: float
    ping_interval: float
    talk_every: float
    utterance: float
    recording: array[int] | None
    turn_deadline: float
    tool_seconds: float
    kinds: tuple[str, ...]
    reconnect: bool
    limits: Limits
    record: Record
    json: bool

    def as_recorded(self) -> dict[str, Any]:
        """The plan as the record has it: without the key."""
        return {
            "url": str(self.target.url),
            "connect_to": self.target.connect_to and str(self.target.connect_to),
            "authenticated": self.target.key is not None,
            "connections": self.connections,
            "duration_s": self.duration,
            "ramp_s": self.ramp,
            "call_seconds": self.call_seconds,
            "ping_interval_s": self.ping_interval,
            "talk_every_s": self.talk_every,
            "utterance_s": self.utterance,
            "recorded": self.recording is not None,
            "turn_deadline_s": self.turn_deadline,
            "tool_seconds": self.tool_seconds,
            "kinds": list(self.kinds),
            "reconnect": self.reconnect,
            "limits": self.limits.given(),
        }


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Plan:
    """Ends with exit 2 and every problem named, or with exit 0 after --help. No problem quotes the key."""
    line = _command_line()
    given = line.read(argv)
    key = given.pop("key") or environ.get(KEY_VARIABLE) or None
    where = {name: given.pop(name) for name in ("model", "key_header", "ca_file", "insecure", "connect_to")}
    aim, problems = target(given.pop("url"), key=key, **where)
    line.problems += problems
    recorded = None
    if (file := given.pop("utterance_file")) is not None:
        try:
            recorded = speech.read(file)
            given["utterance"] = round(len(recorded) / speech.RATE_HZ, 2)
        except ValueError as problem:
            line.problems.append(f"--utterance-file: {problem}")
    record = line.finish(given.pop("record"), key)
    limits = Limits(**{name: given.pop(name) for name in list(given) if name.startswith("max_")})
    return Plan(target=aim, limits=limits, recording=recorded, record=record, **given)


def _command_line() -> CommandLine:
    line = CommandLine("hold", "URL [options], see --help", DESCRIPTION, f"{KINDS_HELP}\n{EXAMPLES}")

    def kinds(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(","))
        if unknown := [name for name in names if name not in KINDS]:
            line.problems.append(f"--kinds wants some of {', '.join(KINDS)}, comma-separated, not {unknown[0]!r}")
            return (DEFAULT_KIND,)
        return names

    add = line.add
    add("url", metavar="URL", help="ws://, wss://, http:// or https://; without a path /v1/realtime is meant")
    for number in NUMBERS:
        line.add_number(*number, metavar="N")
    add(
        "--kinds",
        type=kinds,
        default=(DEFAULT_KIND,),
        metavar="LIST",
        help=f"kinds of the calls, one after the other; twice counts double (default {DEFAULT_KIND}); see below",
    )
    add(
        "--utterance-file",
        metavar="WAV",
        help="a sentence that a person recorded, 16-bit PCM mono, said in each turn for as long as it is",
    )
    add("--reconnect", action="store_true", help="a cut call comes back; the cut still counts")
    add("--model", default="gpt-realtime", help="deployment named in the URL where it names none")
    add("--key", help=f"the relay's client key; better in ${KEY_VARIABLE}, where no process list shows it")
    add("--key-header", choices=("authorization", "api-key"), default="authorization", help="where it goes")
    line.add_way()
    add("--record", metavar="FILE", help="append every observation as a JSON line")
    add("--json", action="store_true", help="print the summary as one JSON object")
    return line
