"""Container Apps on loopback: real relay processes behind a real Envoy, by the platform's own rules.

environment.py  Envoy and the apps, started and stopped together
app.py          one app: its revisions and its traffic
properties.py   the ARM properties of an app, and which changes of them are accepted
template.py     what a revision runs, and what Azure refuses of it
revision.py     one template, from provisioning to its last replica, and ARM's words for its state
replicas.py     how many replicas there should be, by what the ingress counted, and where they are
replica.py      one replica: its process, its probes, its volumes, its restarts
host.py         what all of these use
unverified.py   every guess about Azure, by name
"""

from stage.ingress import Gateway
from stage.platform.app import App
from stage.platform.environment import Environment
from stage.platform.host import Rejected
from stage.platform.replica import Replica
from stage.platform.revision import Revision
from stage.platform.unverified import Timing, Unverified

__all__ = ["App", "Environment", "Gateway", "Rejected", "Replica", "Revision", "Timing", "Unverified"]
