"""A run of the bench as it is on a machine of two cores, where the rounds of a peer are some percent apart."""

from dataclasses import replace

from bench.result import Figures, Machine, Result, Shape

PEERS = ("nginx", "haproxy", "envoy", "fastapi", "aiohttp", "picows", "rtproxy")
CPU = dict(zip(PEERS, (10.02, 8.71, 13.52, 28.84, 16.73, 12.04, 8.32), strict=True))
CPU_TLS = dict(zip(PEERS, (13.01, 10.83, 15.04, 33.21, 30.84, 18.41, 11.52), strict=True))
RSS = dict(zip(PEERS, (22.4, 8.2, 58.1, 73.3, 41.2, 71.0, 21.3), strict=True))
RSS_TLS = dict(zip(PEERS, (74.3, 36.1, 69.4, 148.2, 82.4, 111.9, 72.2), strict=True))
P99 = dict(zip(PEERS, (141.0, 133.0, 262.0, 2410.0, 390.0, 280.0, 149.0), strict=True))
HANDSHAKES = dict(zip(PEERS, (5210.0, 5904.0, 3120.0, 610.0, 1480.0, 1890.0, 2950.0), strict=True))
NOISE = (1.0, 1.07, 0.98)
DIRECT = Figures(p50_us=48.0, p99_us=181.0, lag_p99_us=212.0)


def _steady(name: str, title: str, cpu: dict[str, float], rss: dict[str, float], slower: float) -> Shape:
    rounds = []
    for noise in NOISE:
        found = {"direct": replace(DIRECT, p99_us=181.0 * noise)}
        for peer in PEERS:
            added = P99[peer] * slower * noise
            found[peer] = Figures(
                cpu_us_per_frame=cpu[peer] * noise,
                p50_us=48.0 + added / 3,
                p99_us=181.0 * noise + added,
                rss_idle_kb=rss[peer] * 0.8,
                rss_load_kb=rss[peer] * (1 + (noise - 1) / 10),
                frames=100_000,
                lag_p99_us=215.0 * noise,
            )
        rounds.append(found)
    return Shape(name, title, tuple(rounds), "direct")


def sample() -> Result:
    """Three rounds. Round 2 of nginx does not count in `steady`, nor any of envoy's in `held`; picows is not held."""
    steady = _steady("steady", "100 calls, 50 frames/s each way, plaintext", CPU, RSS, 1.0)
    lagged = replace(steady.rounds[1]["nginx"], cpu_us_per_frame=31.0, void="the load lagged 12.4 ms")
    steady = replace(steady, rounds=(steady.rounds[0], steady.rounds[1] | {"nginx": lagged}, steady.rounds[2]))
    tls = _steady("steady-tls", "100 calls, 50 frames/s each way, TLS upstream", CPU_TLS, RSS_TLS, 1.2)
    held = [{peer: Figures(rss_mb=RSS[peer] * 10 * noise, note="9,900 sessions") for peer in PEERS} for noise in NOISE]
    for each in held:
        each["envoy"] = Figures(void="it has no more file descriptors")
        del each["picows"]
    shaken = [{peer: Figures(handshakes_per_s=HANDSHAKES[peer] * noise) for peer in PEERS} for noise in NOISE]
    drained = ({"rtproxy": Figures(drain_s=24.2, p99_us=330.0, p99_during_us=412.0)},)
    return Result(
        command="nox -s bench",
        date="2026-11-24T20:11:00Z",
        machine=Machine("AMD EPYC 9B14", 2, "6.18.5", "3.11.7", 24),
        versions={peer: f"{peer} 1.22.1" for peer in PEERS},
        missing={},
        shapes=(
            steady,
            tls,
            Shape("held", "10,000 held calls", tuple(held)),
            Shape("handshakes", "upgrades one after the other, plaintext", tuple(shaken)),
            Shape("drain", "1,000 quiet calls drained beside 20 busy ones", drained),
        ),
    )


def without(result: Result, peer: str, get: str) -> Result:
    """The same run on a machine that does not have ``peer``."""
    shapes = []
    for shape in result.shapes:
        rounds = [{name: each for name, each in figures.items() if name != peer} for figures in shape.rounds]
        shapes.append(replace(shape, rounds=tuple(rounds)))
    versions = {name: version for name, version in result.versions.items() if name != peer}
    return replace(result, shapes=tuple(shapes), versions=versions, missing={peer: get})


def measured(result: Result, name: str, peer: str, **figures: float | str) -> Result:
    """The same run with other figures of ``peer`` in every round of a shape."""
    shapes = []
    for shape in result.shapes:
        if shape.name == name:
            rounds = [each | {peer: replace(each[peer], **figures)} for each in shape.rounds]  # type: ignore[arg-type]
            shapes.append(replace(shape, rounds=tuple(rounds)))
        else:
            shapes.append(shape)
    return replace(result, shapes=tuple(shapes))
