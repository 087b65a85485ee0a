"""``python -m rtproxy``: the only place where the relay itself reads the environment; loop, signals, exit code."""

import argparse
import asyncio
import dataclasses
import gc
import logging
import os
import resource
import signal
import sys

import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from rtproxy import __version__
from rtproxy.app import TELEMETRY, make_app
from rtproxy.call.drain import cut, drain
from rtproxy.carry import ADMISSION, ROSTER
from rtproxy.door.halfopen import Runner
from rtproxy.log import Log, Outlet
from rtproxy.settings import HELP, PROXY_HELP, TELEMETRY_HELP, Settings, SettingsError, load
from rtproxy.wire import flow

BACKLOG = 2048
CUT_S = 1.0
"""After a second signal, what the last bytes to slow readers may take."""
SPARE_DESCRIPTORS = 128
"""For probes, scrapes, callers who are refused, and handshakes, each of which takes a third one for a moment."""


async def serve(settings: Settings, log: Log) -> int:
    """Serves until a signal, then drains. The exit code: 0, or 128 + the signal when a second one cut it short."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, signals.put_nowait, each)
    app = make_app(settings, log)
    runner = Runner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)
        await site.start()
        port = runner.addresses[0][1]
        proxy = settings.https_proxy.of(settings.endpoint)
        log(
            "proxy.started",
            version=__version__,
            app=settings.app,
            host=settings.host,
            port=port,
            pid=os.getpid(),
            telemetry=app[TELEMETRY],
            https_proxy=proxy.name if proxy else None,
            compiled=not flow.__file__.endswith(".py"),
        )
        # What start-up made stays: a collection while calls are up need not look at it, which took 20 ms.
        gc.collect()
        gc.freeze()
        log("signal.received", signal=(await signals.get()).name)
        draining = asyncio.create_task(drain(app[ROSTER], app[ADMISSION], log, settings.drain_s))
        again = asyncio.create_task(signals.get())
        await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
        code = 0
        if again.done():
            code = 128 + again.result()
            log("signal.received", signal=again.result().name)
            draining.cancel()
            await cut(app[ROSTER], app[ADMISSION], CUT_S)
        again.cancel()
    finally:
        await runner.cleanup()
    log.refused.flush()
    log("proxy.stopped", code=code)
    return code


class _Hush(logging.Filter):
    """Drops what aiohttp says of requests that it cannot parse: it quotes them, and a key may stand in one."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def main() -> int:
    """Reads the settings and serves. 2: they are wrong. 1: the port could not be had."""
    parser = argparse.ArgumentParser(
        prog="rtproxy",
        description="A relay for voice calls to Azure OpenAI gpt-realtime.",
        epilog=f"settings, read from the environment:\n{HELP}\n{PROXY_HELP}\n{TELEMETRY_HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rtproxy {__version__}")
    parser.parse_args()
    try:
        settings = load(os.environ)
    except SettingsError as error:
        return _to_mend(error)
    logging.getLogger("aiohttp.server").addFilter(_Hush())
    # `az login` is asked by fork and exec: gRPC's care for forks that go on crashes some of those before the exec.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    settings = _fitting(settings)
    outlet = Outlet(sys.stdout.fileno())
    try:
        return uvloop.run(serve(settings, Log(settings.revision, settings.replica, outlet)))
    except SettingsError as error:  # what only the OpenTelemetry SDK knows
        return _to_mend(error)
    except OSError as error:
        print(f"rtproxy: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        outlet.finish()


def _fitting(settings: Settings) -> Settings:
    """As many places as there are descriptors for: beyond that probes would be hung up on, and all calls lost."""
    # Two sockets a call: the soft limit of 1024 would end at 500 calls.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return settings
    places = max(1, (hard - SPARE_DESCRIPTORS) // 2)
    return dataclasses.replace(settings, max_sessions=min(settings.max_sessions, places))


def _to_mend(error: SettingsError) -> int:
    count = len(error.problems)
    print(f"rtproxy: {count} {'setting' if count == 1 else 'settings'} to mend:", file=sys.stderr)  # noqa: T201
    for problem in error.problems:
        print(f"  {problem}", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main())
