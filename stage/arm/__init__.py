"""The ARM endpoint: Azure's control plane, as much of it as the real az needs to run a rollout on the stage.

server         both listeners, and what a shell needs to use them
routes         verb and path to handler; request bodies, rights, refusals
subscription   what the control plane knows beside the platform: groups, registry, operations
resources      a resource as it is asked for: names, ids, hashes, the store
catalog        what Azure offers: regions, types of resources, providers
inventory      what there is, how it is made and deleted; resource groups
apps           container apps, revisions, log streams; documents has their JSON
deployments    templates: validate, what-if, create
template       a template, resource by resource; scope and expressions evaluate it
roles          who may do what; secrets of vaults and shares of storage accounts
accounts       model accounts: models, quota, deleted accounts
gateways       what Envoy makes of an Application Gateway
images         builds, imports and tags of the registry
faults         what can be made to go wrong
"""

from stage.arm.server import Arm
from stage.arm.subscription import Registry

__all__ = ["Arm", "Registry"]
