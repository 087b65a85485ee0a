"""Guesses about Container Apps that no primary source settles, and the times that the platform fixes.

A measurement on Azure changes one line here; tests shorten the times.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Unverified:
    """Each choice is a guess with a reason, not knowledge."""

    endpoint_removal_delay_s: float = 0.5
    """From SIGTERM until the ingress sends a replica nothing new. On Kubernetes both start at once and the endpoint
    takes longer; a relay must survive that order, so it is the one rehearsed."""
    single_mode_wait_s: float = 30.0
    """Single mode: from the new revision's readiness to SIGTERM for the old one. A maintainer wrote so in 2022."""
    deactivate_to_sigterm_s: float = 0.0
    """From `revision deactivate` to SIGTERM. No delay is documented, and none is the hardest case."""
    open_sockets_are_activity: bool = True
    """Whether an open WebSocket keeps the last replica from scaling to zero. The HTTP scaler is documented by arrivals
    alone; that it would also end the calls it does not count is not."""
    zero_from_any_count: bool = True
    """Whether the step to zero is taken from several replicas too. KEDA takes it so."""
    weights_late_s: float = 3.0
    """From new weights until the last part of the ingress goes by them. It is several Envoys, each configured by
    itself; how late one may be is not documented."""
    affinity_cookie: str = "acaAffinity"
    """The name is not documented; clients must learn it from Set-Cookie."""
    sticky_in_multiple_mode_is_rejected: bool = False
    """Whether Multiple mode refuses sticky sessions. az does not check; a mode switch should not fail, so ignored."""
    ingress_idle_timeout_s: float = 240.0
    """The documented request timeout, taken as the longest silence of a WebSocket, as commonly reported."""
    replicas_of_the_stopped_are_not_found: bool = True
    """Whether the list of replicas of a deactivated revision is 404 once the last has left, and not empty."""
    provisioning_deadline_s: float = 300.0
    """How long a new revision may take until its replicas are ready, before it is Failed with a timeout."""
    crashes_that_fail: int = 3
    """Ends of one container in a row after which a new revision is Failed as crashing."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Fixed times of the platform: no property of an app sets them."""

    http_window_s: float = 15.0
    """The HTTP rule counts the requests of this long and decides as often."""
    stabilisation_s: float = 300.0
    """Replicas are taken away once none were needed for this long (N to M, M at least 1)."""
    back_off_s: float = 10.0
    """Before the second restart of a container in a row; the first is at once, each later one waits twice as long."""
    back_off_max_s: float = 300.0
    sample_s: float = 1.0
    """How often the ingress is asked what came in."""
    leaving_grace_s: float = 5.0
    """The grace period of every replica when the stage itself stops: enough to close calls, not to finish them."""
