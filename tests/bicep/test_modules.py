"""The files of the template fit each other, and a secret goes only where it is kept as one."""

import pytest

from tests.bicep.conftest import Broken
from tests.bicep.project import faults

MAIN = "main.bicep"
REFUSED = {
    "missing argument": (
        MAIN,
        "    networkId: networkId\n",
        "",
        "dns.params.networkId: required by modules/dns.bicep, but missing",
    ),
    "unknown argument": (
        MAIN,
        "    waf: waf\n",
        "    waf: waf\n    ddos: waf\n",
        "gateway.params.ddos: modules/gateway.bicep has no such parameter",
    ),
    "argument of another type": (
        MAIN,
        "maxReplicas: maxReplicas",
        "maxReplicas: string(maxReplicas)",
        "app.params.maxReplicas: modules/app.bicep takes int, not string",
    ),
    "output that a module does not have": (
        MAIN,
        "monitor.outputs.customerId",
        "monitor.outputs.customer",
        "logAnalyticsWorkspaceId: reads monitor.outputs.customer, but the module has no such output",
    ),
    "file that is not there": (
        MAIN,
        "'modules/vault.bicep'",
        "'modules/safe.bicep'",
        "vault: there is no modules/safe.bicep",
    ),
    "unused parameter": (
        "modules/dns.bicep",
        "param domain string\n",
        "param domain string\nparam ttl int = 300\n",
        "ttl: declared, but not used",
    ),
    "unused variable": (
        "modules/roles.bicep",
        "var acrPull",
        "var acrPush = ''\nvar acrPull",
        "acrPush: declared, but not used",
    ),
    "secret in an output": (
        MAIN,
        "output warnings string[]",
        "output key string = '${prefix}:${openAiApiKey}'\noutput warnings string[]",
        "key: an output that carries the secret openAiApiKey",
    ),
    "secret in an output, by way of a variable": (
        MAIN,
        "output warnings string[]",
        "var both = [clientKeys, prefix]\noutput keys array = both\noutput warnings string[]",
        "keys: an output that carries the secret clientKeys",
    ),
    "secret that a module does not keep": (
        MAIN,
        "modelDeployment: openAiDeploymentName",
        "modelDeployment: openAiApiKey",
        "app.params.modelDeployment: gets openAiApiKey, but modules/app.bicep does not keep it secret",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_is_named_in_a_sentence(broken: Broken, fault: str) -> None:
    file, old, new, sentence = REFUSED[fault]
    assert faults(broken(file, old, new)) == [f"{file}: {sentence}"]
