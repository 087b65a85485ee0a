"""The words that ARM has for how a revision is doing."""

from collections.abc import Collection
from dataclasses import dataclass

from stage.platform.replica import Replica


@dataclass(frozen=True, kw_only=True)
class State:
    """What they depend on. ``replicas``: those that are to stay, ``count``: how many there should be."""

    active: bool
    provisioning: str
    asleep: bool
    count: int
    replicas: Collection[Replica]
    crashes_that_fail: int

    @property
    def ready(self) -> int:
        return sum(each.ready for each in self.replicas)

    @property
    def health(self) -> str:
        """Healthy, Unhealthy or None."""
        if not self.active or self.provisioning == "Provisioning":
            return "None"
        return "Healthy" if self.asleep or self.ready else "Unhealthy"

    @property
    def running(self) -> str:
        """Running, Processing, Stopped, Degraded or Failed."""
        if not self.active:
            return "Stopped"
        if self.provisioning in ("Failed", "Provisioning"):
            return "Failed" if self.provisioning == "Failed" else "Processing"
        # Of the six words of the schema none says "scaled to zero"; nothing is wrong with it.
        if self.asleep or self.ready >= self.count:
            return "Running"
        if not self.ready and all(each.crashes >= self.crashes_that_fail for each in self.replicas):
            return "Failed"
        return "Degraded" if any(each.crashes for each in self.replicas) else "Processing"
