"""The ARM endpoint: Azure's control plane, as much of it as the real az needs to run a rollout on the stage.

server         both listeners, and what a shell needs to use them   server.py, tls.py, profile.py
routes         verb and path to handler; refusals                   routes.py, body.py, ids.py
subscription   what the control plane knows beside the platform     subscription.py, store.py
apps           container apps, revisions, replicas, secrets         apps.py, revisions.py, documents.py, merge.py
operations     changes that take time, and how they are followed    operations.py, polling.py
deployments    templates: validate, what-if, create                 deployments.py, visitors.py, preflight.py,
                                                                    whatif.py, jsonc.py
templates      parameters, expressions, order, modules, outputs     template.py, order.py, scope.py, parameters.py,
                                                                    resources.py, syntax.py, expressions.py,
                                                                    functions.py, hashing.py
inventory      what there is, how it is made and unmade             inventory.py, catalog.py
rules          roles, models and deleted accounts, registrations    roles.py, accounts.py, providers.py
gateways       what Envoy makes of an Application Gateway           gateways.py
groups         resource groups and what is in them                  groups.py
registry       images, builds, tags                                 registry.py, images.py, build.py, tags.py
logs           console and system log streams                       logs.py
faults         what can be made to go wrong                         faults.py, unsteady.py
"""

from stage.arm.registry import Registry
from stage.arm.server import Arm

__all__ = ["Arm", "Registry"]
