"""Container Apps on loopback: real relay processes behind a real Envoy, by the platform's own rules.

environment.py  the way in: Envoy and the apps, up and down together
app.py          one app: its revisions and its traffic; accept.py and desired.py say which changes it takes
revision.py     one template, from provisioning to its last replica; states.py has ARM's words for how it is doing
replicas.py     as many of them as there should be, and the ingress told where they are
replica.py      probes, readiness and restarts of one; container.py is one run of its process
scaling.py      how many there should be, from what the ingress counted; demand.py acts on it
activator.py    the endpoint of a revision that sleeps
template.py     what a revision is made of, and what Azure refuses of it; probes.py and traffic.py likewise
unverified.py   every guess about Azure, by name
"""

from stage.ingress import Gateway
from stage.platform.app import App
from stage.platform.environment import Environment
from stage.platform.rejected import Rejected
from stage.platform.replica import Replica
from stage.platform.revision import Revision
from stage.platform.unverified import Timing, Unverified

__all__ = ["App", "Environment", "Gateway", "Rejected", "Replica", "Revision", "Timing", "Unverified"]
