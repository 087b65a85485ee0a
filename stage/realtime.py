"""A simulated Azure OpenAI `gpt-realtime`: `python -m stage.realtime --key KEY`, or `make_app` in a test.

One JSON line on stdout has its address; SIGTERM and SIGINT end it with 0.
"""

import argparse
import asyncio
import json
import math
import sys
import textwrap
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvloop
from aiohttp import web

from stage.commandline import on_stop, positive
from stage.gpt import handshake
from stage.gpt.audio import Voice
from stage.gpt.calls import Shared
from stage.gpt.conversation import Throttle
from stage.gpt.model import FAULTS, Model, faults
from stage.gpt.options import Options
from stage.gpt.wire import RecordFile, now

_REGION = "East US 2"


def _names(names: list[str]) -> str:
    return "\n  ".join(textwrap.wrap(", ".join(names), 110))


_HELP = f"""\
What a client provokes:
  tools        `call NAME` in the last text that the user wrote or, after speech, in the instructions; `call A and B`
               calls both in one response of generation 2, after a spoken preamble. tool_choice works, too. A function
               named wait... is silent: nothing is said before it. The answer comes after the client's response.create.
  MCP          a tool of type mcp has the tools in its allowed_tools, else `search`, and asks for approval unless
               require_approval is never. The call ends after --mcp-seconds; then the client sends response.create.
               A server_label with `broken` in it lists nothing; a tool named fail... fails.
  turns        turn_detection null, create_response, interrupt_response, semantic_vad (8, 4 or 2 s of silence),
               idle_timeout_ms, and conversation none, as the service documents them.
  writing      ?intent=transcription: no responses; whisper in the name of the transcription model bills seconds.
Token counts: 20 a second of audio sent, 10 a second heard, one for four characters of text.

While it runs: GET /_stage/sessions shows the model's own view; POST /_stage/faults {{"fault": NAME, ...}} breaks
things, of one "session" or of all. NAME is one of:
  {_names(list(FAULTS))}
docs/model.md has the fields of each.
"""
# Longer than the end of a call takes, which `wire` bounds.
_SHUTDOWN_TIMEOUT_S = 5.0


def make_app(options: Options) -> web.Application:
    """One deployment; any number of them may live in a process. Raises OSError when its record cannot be written."""
    throttle, file = Throttle(options.throttle), RecordFile(options.record)
    model = Model(Shared(options, Voice(options.answer_seconds), throttle, file))

    async def inject(request: web.Request) -> web.Response:
        return await faults(request, model)

    async def nothing_here(request: web.Request) -> web.Response:
        return handshake.not_found()

    app = web.Application()
    for path in handshake.DOORS:
        app.router.add_get(path, model.answer)
    app.router.add_get("/_stage/sessions", model.sessions)
    app.router.add_post("/_stage/faults", inject)
    app.router.add_route("*", "/{anything:.*}", nothing_here)
    app.on_response_prepare.append(_stamp)
    app.on_shutdown.append(model.hang_up)
    app.on_cleanup.append(model.put_away)
    return app


async def _stamp(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["apim-request-id"] = str(uuid.uuid4())
    response.headers["x-ms-region"] = _REGION
    response.headers.popall("Server", None)  # the service does not name aiohttp


async def serve(options: Options, host: str, port: int) -> int:
    """Serve until a signal; the exit code."""
    stop = asyncio.Event()
    on_stop(stop.set)
    try:
        app = make_app(options)
    except OSError as fault:
        sys.stderr.write(f"error: cannot write {options.record}: {fault.strerror}\n")
        return 1
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        url_host = f"[{host}]" if ":" in host else host
        ready = {"ts": now(), "event": "model.started", "url": f"http://{url_host}:{runner.addresses[0][1]}"}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()
    except OSError as fault:
        sys.stderr.write(f"error: cannot listen on {host}:{port}: {fault.strerror or fault}\n")
        return 1
    finally:
        await runner.cleanup()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    settings = _parser().parse_args(arguments)
    options = Options(
        key=settings.key,
        tokens=tuple(settings.token),
        model=settings.model,
        deployments=settings.deployments,
        session_seconds=settings.session_seconds,
        silence_ms=settings.silence_ms,
        answer_seconds=settings.answer_seconds,
        pace=settings.pace,
        drop_after_seconds=settings.drop_after,
        max_sessions=settings.max_sessions,
        generation=settings.generation,
        thinking_seconds=settings.thinking_seconds,
        noise_seconds=settings.noise_seconds,
        transcription_seconds=settings.transcription_seconds,
        mcp_seconds=settings.mcp_seconds,
        throttle=settings.throttle,
        refuse_after_101=settings.refuse_after_101,
        record=settings.record,
        rate_limits=settings.rate_limits,
    )
    return uvloop.run(serve(options, settings.host, settings.port))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stage.realtime",
        description="A simulated Azure OpenAI gpt-realtime deployment on loopback.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=9000, help="port to listen on; 0 picks a free one (%(default)s)")
    add("--key", type=_secret, required=True, help="the API key callers must present")
    add("--token", type=_secret, action="append", default=[], help="an Entra ID token to accept too; repeatable")
    add("--model", default=Options.model, metavar="NAME", help="name of the deployment (%(default)s)")
    add(
        "--deployments", type=Path, metavar="FILE", help="names, a line each, in the place of --model where it has some"
    )
    add("--session-seconds", type=positive, default=Options.session_seconds, metavar="S", help="longest session (3600)")
    add("--silence-ms", type=_count, default=Options.silence_ms, metavar="MS", help="silence that ends a turn (500)")
    add("--answer-seconds", type=positive, default=Options.answer_seconds, metavar="S", help="length of an answer (3)")
    add("--pace", type=positive, default=Options.pace, metavar="X", help="speed of answers over that of speech (4)")
    add("--drop-after", type=positive, metavar="S", help="drop each call without a Close after so long (never)")
    add("--max-sessions", type=_count, metavar="N", help="sessions at once, more get 429 (no limit)")
    add("--rate-limits", choices=("start", "end"), default="end", help="place of rate_limits.updated (%(default)s)")
    add("--generation", type=int, choices=(1, 2), default=Options.generation, help="2: gpt-realtime-2.x (%(default)s)")
    for flag, default, what in (
        ("--thinking-seconds", Options.thinking_seconds, "silence before an answer"),
        ("--noise-seconds", Options.noise_seconds, "so much longer on average, by chance"),
        ("--transcription-seconds", Options.transcription_seconds, "from speech to its transcript"),
        ("--mcp-seconds", Options.mcp_seconds, "length of an MCP call"),
    ):
        add(flag, type=_seconds, default=default, metavar="S", help=f"{what} (%(default)s)")
    add("--throttle", type=_share, default=0.0, metavar="X", help="share of responses that fail for want of tokens (0)")
    late = tuple(handshake.LATE_REFUSALS)
    add("--refuse-after-101", type=int, choices=late, help="let each call in, then `error` and Close (never)")
    add("--record", type=Path, metavar="FILE", help="append hashes and lengths of what was sent and heard (none)")
    return parser


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (seconds := float(text)) < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds, 0 or more")


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (share := float(text)) <= 1:
            return share
    raise argparse.ArgumentTypeError(f"{text!r} is not a share: 0 to 1")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0-65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _secret(text: str) -> str:
    if not text.isascii() or not text.strip():
        raise argparse.ArgumentTypeError("must be plain ASCII and not empty")
    return text


if __name__ == "__main__":
    sys.exit(main())
