"""The scaler of one revision at work: what the ingress counts goes in, replicas come and go."""

import asyncio
from collections.abc import Callable

from stage.platform.host import Host
from stage.platform.replicas import Replicas
from stage.platform.scaling import Scaler
from stage.platform.template import Scale


async def follow(
    host: Host, revision: str, scale: Scale, replicas: Replicas, *, steady: Callable[[], bool], busy: Callable[[], None]
) -> None:
    """Goes on until it is cancelled; scales only while ``steady``, and calls ``busy`` when there was activity."""
    clock = asyncio.get_running_loop().time
    scaler = Scaler(scale, host.timing, host.unverified, clock(), replicas.count)
    while True:
        now = clock()
        scaler.observe(now, (await host.ingress.counts())[revision])
        if scaler.last_activity == now:
            busy()
        if steady() and (step := scaler.decide(now, replicas.count)) is not None:
            count, reason = step
            if count:
                replicas.scale(count, reason)
            else:
                await replicas.sleep(reason)
        await asyncio.sleep(host.timing.sample_s)
