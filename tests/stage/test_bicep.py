"""The stage's stand-in for the Bicep compiler: small files, and exactly the ARM that the real one makes of them."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stage.arm import server
from stage.bicep import BicepError, compile, install

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
Compile = Callable[..., dict[str, Any]]
VAULT = "resource vault 'Microsoft.KeyVault/vaults@2024-11-01'"
IDENTITY = "resource me 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30'"


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Compiles a text; further files, `name=text`, lie beside it, and `part` is a module."""

    def compiled(text: str, **beside: str) -> dict[str, Any]:
        for name, content in beside.items():
            (tmp_path / (f"{name}.bicep" if name == "part" else name)).write_text(content)
        (tmp_path / "main.bicep").write_text(text)
        return compile(tmp_path / "main.bicep")

    return compiled


def value(compiled: Compile, expression: str) -> Any:
    """What the expression comes to, with some names to use in it."""
    names = "param a string\nparam b bool\nparam n int\nparam list array\nparam thing object\n"
    return compiled(f"{names}output it string = {expression}")["outputs"]["it"]["value"]


@pytest.mark.parametrize(
    ("bicep", "arm"),
    [
        ("'plain'", "plain"),
        ("7", 7),
        ("-7", -7),
        ("true", True),
        ("null", None),
        ("[1, 'x', { k: b }]", [1, "x", {"k": "[parameters('b')]"}]),
        ("a", "[parameters('a')]"),
        ("'it is ${a}'", "[format('it is {0}', parameters('a'))]"),
        ("'${a}'", "[format('{0}', parameters('a'))]"),
        ("'${replace(a, '}', '')}!'", "[format('{0}!', replace(parameters('a'), '}', ''))]"),
        ("'${toLower('${a}}')}'", "[format('{0}', toLower(format('{0}}}', parameters('a'))))]"),
        (
            "'${toLower('x${replace(a, '}', '')}')}'",
            "[format('{0}', toLower(format('x{0}', replace(parameters('a'), '}', ''))))]",
        ),
        ("'${length({})}'", "[format('{0}', length(createObject()))]"),
        ("7 // the end", 7),
        ("'{${a}}'", "[format('{{{0}}}', parameters('a'))]"),
        ("'${replace(a, '-', '')}${n}'", "[format('{0}{1}', replace(parameters('a'), '-', ''), parameters('n'))]"),
        (r"'it\'s \${a} \\ \u{41}'", "it's ${a} \\ A"),
        (r"'${a}\'s'", "[format('{0}''s', parameters('a'))]"),
        ("'''\n${a} isn't\nread'''", "${a} isn't\nread"),
        ("b ? 'yes' : 'no'", "[if(parameters('b'), 'yes', 'no')]"),
        (
            "b ? { k: [true, null] } : {}",
            "[if(parameters('b'), createObject('k', createArray(true(), null())), createObject())]",
        ),
        ("list[0].name", "[parameters('list')[0].name]"),
        ("thing['a-b'].c", "[parameters('thing')['a-b'].c]"),
        ("thing[a]", "[parameters('thing')[parameters('a')]]"),
        ("thing.?k.j ?? 'x'", "[coalesce(tryGet(parameters('thing'), 'k', 'j'), 'x')]"),
        ("list[?0]", "[tryGet(parameters('list'), 0)]"),
        ("resourceGroup().location", "[resourceGroup().location]"),
        ("n - 5", "[sub(parameters('n'), 5)]"),
        ("-n", "[sub(0, parameters('n'))]"),
        ("!b", "[not(parameters('b'))]"),
        ("a != 'x'", "[not(equals(parameters('a'), 'x'))]"),
    ],
)
def test_an_expression_becomes_the_arm_expression(compiled: Compile, bicep: str, arm: Any) -> None:
    assert value(compiled, bicep) == arm


@pytest.mark.parametrize(
    ("bicep", "arm"),
    [
        ("a == 'x' && b", "and(equals(parameters('a'), 'x'), parameters('b'))"),
        ("b && a == 'x'", "and(parameters('b'), equals(parameters('a'), 'x'))"),
        ("b || b && b", "or(parameters('b'), and(parameters('b'), parameters('b')))"),
        ("(b || b) && b", "and(or(parameters('b'), parameters('b')), parameters('b'))"),
        ("!b && b", "and(not(parameters('b')), parameters('b'))"),
        ("n - 1 - 2", "sub(sub(parameters('n'), 1), 2)"),
        ("n - (1 - 2)", "sub(parameters('n'), sub(1, 2))"),
        ("1 + 2 * n < 9", "less(add(1, mul(2, parameters('n'))), 9)"),
        ("b ? 1 : b ? 2 : 3", "if(parameters('b'), 1, if(parameters('b'), 2, 3))"),
        ("a == 'x' ? 1 : 2", "if(equals(parameters('a'), 'x'), 1, 2)"),
        (
            "!empty(thing.k) || thing.k.j == list[0].k",
            "or(not(empty(parameters('thing').k)), equals(parameters('thing').k.j, parameters('list')[0].k))",
        ),
    ],
)
def test_operators_bind_as_in_bicep_which_the_grammar_does_not_say(compiled: Compile, bicep: str, arm: str) -> None:
    assert value(compiled, bicep) == f"[{arm}]"


def test_text_in_brackets_stays_text(compiled: Compile) -> None:
    assert value(compiled, "'[x]'") == "[[x]"
    assert value(compiled, "'[x'") == "[x", "ARM takes only what also ends with a bracket for an expression"


def test_parameters_carry_what_their_decorators_say(compiled: Compile) -> None:
    template = compiled("""
@description('Begins every name.')
@minLength(3)
@maxLength(20)
param prefix string
@secure()
param key string = ''
@secure()
param keys object
@allowed([
  'Multiple' // weights
  'Single'
])
param mode string = 'Multiple'
@minValue(1)
@maxValue(5)
param count int
param where string = resourceGroup().location
""")
    assert template["parameters"] == {
        "prefix": {
            "type": "string",
            "minLength": 3,
            "maxLength": 20,
            "metadata": {"description": "Begins every name."},
        },
        "key": {"type": "securestring", "defaultValue": ""},
        "keys": {"type": "secureObject"},
        "mode": {"type": "string", "defaultValue": "Multiple", "allowedValues": ["Multiple", "Single"]},
        "count": {"type": "int", "minValue": 1, "maxValue": 5},
        "where": {"type": "string", "defaultValue": "[resourceGroup().location]"},
    }


def test_a_resource_is_an_entry_under_its_symbolic_name(compiled: Compile) -> None:
    template = compiled(f"""
param tags object
@description('Who the relay is.')
{IDENTITY} = if (!empty(tags)) {{
  name: 'relay'
  location: resourceGroup().location
  tags: tags
}}
""")
    assert template["languageVersion"] == "2.0"
    assert template["resources"] == {
        "me": {
            "condition": "[not(empty(parameters('tags')))]",
            "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
            "apiVersion": "2024-11-30",
            "name": "relay",
            "location": "[resourceGroup().location]",
            "tags": "[parameters('tags')]",
            "metadata": {"description": "Who the relay is."},
        }
    }


def test_what_is_read_of_a_resource_is_its_id_its_name_or_a_reference(compiled: Compile) -> None:
    template = compiled(f"""
{IDENTITY} = {{
  name: 'relay'
}}
resource app 'Microsoft.App/containerApps@2025-07-01' = {{
  name: '${{me.name}}-app'
  identity: {{
    userAssignedIdentities: {{
      '${{me.id}}': {{}}
    }}
  }}
  properties: {{
    client: me.properties.clientId
    where: me.location
    kind: me.type
  }}
}}
""")
    assert template["resources"]["app"] == {
        "type": "Microsoft.App/containerApps",
        "apiVersion": "2025-07-01",
        "name": "[format('{0}-app', 'relay')]",
        "identity": {
            "userAssignedIdentities": {
                "[format('{0}', resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'relay'))]": {}
            }
        },
        "properties": {
            "client": "[reference('me').clientId]",
            "where": "[reference('me', '2024-11-30', 'full').location]",
            "kind": "Microsoft.ManagedIdentity/userAssignedIdentities",
        },
        "dependsOn": ["me"],
    }


def test_a_child_has_the_names_of_its_parents(compiled: Compile) -> None:
    template = compiled("""
param base string
resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: base
}
resource every 'Microsoft.Network/privateDnsZones/A@2024-06-01' = {
  parent: zone
  name: '*'
}
resource apart 'Microsoft.Network/privateDnsZones/A@2024-06-01' existing = {
  name: '${base}/@'
}
output id string = every.id
output name string = every.name
output apart string = apart.id
""")
    assert template["resources"]["every"] == {
        "type": "Microsoft.Network/privateDnsZones/A",
        "apiVersion": "2024-06-01",
        "name": "[format('{0}/{1}', parameters('base'), '*')]",
        "dependsOn": ["zone"],
    }
    outputs = {name: output["value"] for name, output in template["outputs"].items()}
    split = "split(format('{0}/@', parameters('base')), '/')"
    assert outputs == {
        "id": "[resourceId('Microsoft.Network/privateDnsZones/A', parameters('base'), '*')]",
        "name": "*",
        "apart": f"[resourceId('Microsoft.Network/privateDnsZones/A', {split}[0], {split}[1])]",
    }


def test_a_role_is_assigned_in_the_scope_of_an_existing_resource(compiled: Compile) -> None:
    template = compiled(f"""
{VAULT} existing = {{
  name: 'kv'
}}
resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {{
  scope: vault
  name: guid(vault.id)
  properties: {{}}
}}
output id string = role.id
""")
    kv = "resourceId('Microsoft.KeyVault/vaults', 'kv')"
    assert template["resources"]["vault"] == {
        "existing": True,
        "type": "Microsoft.KeyVault/vaults",
        "apiVersion": "2024-11-01",
        "name": "kv",
    }
    assert template["resources"]["role"] == {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "scope": f"[{kv}]",
        "name": f"[guid({kv})]",
        "properties": {},
    }
    role = f"extensionResourceId({kv}, 'Microsoft.Authorization/roleAssignments', guid({kv}))"
    assert template["outputs"]["id"]["value"] == f"[{role}]"


def test_a_resource_of_another_group_or_of_the_subscription_is_found_there(compiled: Compile) -> None:
    template = compiled(f"""
{VAULT} existing = {{
  name: 'kv'
  scope: resourceGroup('keys')
}}
resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' existing = {{
  name: 'reader'
  scope: subscription()
}}
output vault string = vault.id
output role string = role.id
""")
    assert template["resources"]["vault"]["resourceGroup"] == "keys"
    assert template["resources"]["role"]["scope"] == "[subscription().id]"
    group = "format('/subscriptions/{0}/resourceGroups/{1}', subscription().subscriptionId, 'keys')"
    assert {name: output["value"] for name, output in template["outputs"].items()} == {
        "vault": f"[extensionResourceId({group}, 'Microsoft.KeyVault/vaults', 'kv')]",
        "role": "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'reader')]",
    }


def test_nothing_waits_for_an_existing_resource_but_for_what_it_is_part_of(compiled: Compile) -> None:
    template = compiled(f"""
{VAULT} = {{
  name: 'kv'
}}
resource key 'Microsoft.KeyVault/vaults/keys@2024-11-01' existing = {{
  parent: vault
  name: 'k'
}}
{IDENTITY} = {{
  name: 'relay'
  tags: {{
    key: key.properties.keyUri
  }}
}}
""")
    assert template["resources"]["key"]["dependsOn"] == ["vault"]
    assert template["resources"]["me"]["dependsOn"] == ["vault"]


def test_a_variable_that_only_the_platform_can_compute_stands_where_it_is_used(compiled: Compile) -> None:
    template = compiled(f"""
{IDENTITY} = {{
  name: 'relay'
}}
var client = me.properties.clientId
var env = [
  {{
    value: client
  }}
]
var id = me.id
output env array = env
output id string = id
resource app 'Microsoft.App/containerApps@2025-07-01' = {{
  name: 'app'
  properties: env
}}
""")
    assert template["variables"] == {"id": "[resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'relay')]"}
    assert template["outputs"]["env"]["value"] == [{"value": "[reference('me').clientId]"}]
    assert template["outputs"]["id"]["value"] == "[variables('id')]"
    assert template["resources"]["app"]["dependsOn"] == ["me"]


PART = """
param location string
@secure()
param key string = ''
resource ip 'Microsoft.Network/publicIPAddresses@2024-07-01' = {
  name: 'ip'
  location: location
}
output address string = ip.properties.ipAddress
"""


def test_a_module_is_a_deployment_inside_of_the_deployment(compiled: Compile, tmp_path: Path) -> None:
    template = compiled(
        """
param group string
param key string
module part 'part.bicep' = if (!empty(key)) {
  name: '${group}-part'
  scope: resourceGroup(group)
  params: {
    location: resourceGroup().location
    key: key
  }
}
module after 'part.bicep' = {
  params: {
    location: part.outputs.address
  }
  dependsOn: [
    part
  ]
}
output address string = empty(key) ? '' : part!.outputs.address
""",
        part=PART,
    )
    inner = {"scope": "inner"}
    assert template["resources"]["part"] == {
        "condition": "[not(empty(parameters('key')))]",
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2025-04-01",
        "name": "[format('{0}-part', parameters('group'))]",
        "resourceGroup": "[parameters('group')]",
        "properties": {
            "expressionEvaluationOptions": inner,
            "mode": "Incremental",
            "parameters": {
                "location": {"value": "[resourceGroup().location]"},
                "key": {"value": "[parameters('key')]"},
            },
            "template": compile(tmp_path / "part.bicep"),
        },
    }
    after = template["resources"]["after"]
    made_up = "[format('after-{0}', uniqueString('after', deployment().name))]"
    assert (after["name"], after["dependsOn"]) == (made_up, ["part"])
    address = "reference('part').outputs.address.value"
    assert after["properties"]["parameters"] == {"location": {"value": f"[{address}]"}}
    assert template["outputs"]["address"]["value"] == f"[if(empty(parameters('key')), '', {address})]"


def test_a_text_beside_the_file_is_a_variable_of_the_template(compiled: Compile) -> None:
    """ARM's expressions end at 24,576 characters; a variable may be longer."""
    template = compiled(
        "output whole string = loadTextContent('a.kql')\noutput part string = take(loadTextContent('a.kql'), 9)\n",
        **{"a.kql": "[union isfuzzy=true]"},
    )
    assert template["variables"]["$fxv#0"] == "[[union isfuzzy=true]"
    assert template["outputs"]["whole"]["value"] == "[variables('$fxv#0')]"
    assert "union" not in template["outputs"]["part"]["value"]


def test_a_type_of_another_file_is_a_definition_of_the_template(compiled: Compile) -> None:
    declared = "@export()\n@sealed()\ntype share = {\n  @maxValue(100)\n  weight: int\n  label: string?\n}\n"
    used = "param shares share[]\nparam note string?\noutput all share[] = shares\n"
    template = compiled(f"import {{ share }} from 'types.bicep'\n{used}", **{"types.bicep": declared})
    properties = {"weight": {"type": "int", "maxValue": 100}, "label": {"type": "string", "nullable": True}}
    imported = {"__bicep_imported_from!": {"sourceTemplate": "types.bicep"}}
    share = {"type": "object", "properties": properties, "additionalProperties": False, "metadata": imported}
    shares = {"type": "array", "items": {"$ref": "#/definitions/share"}}
    assert template["definitions"] == {"share": share}
    assert template["parameters"] == {"shares": shares, "note": {"type": "string", "nullable": True}}
    assert template["outputs"] == {"all": {**shares, "value": "[parameters('shares')]"}}


def test_a_conditional_may_be_broken_where_the_formatter_breaks_it(compiled: Compile) -> None:
    broken = "param on bool\nvar x = on\n  // said\n  ? [\n      'a'\n    ]\n  : []\noutput y array = x\n"
    assert compiled(broken)["variables"] == {"x": "[if(parameters('on'), createArray('a'), createArray())]"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("output x string = y", "main.bicep(1,19) : Error: the name 'y' is not declared"),
        ("\noutput x string = '${y}'", "main.bicep(2,19) : Error: the name 'y' is not declared"),
        ("output x string = '${y +}'", "in the string's expression 'y +'"),
        ("output x string = = 1", "main.bicep(1,19) : Error: the grammar of pycep does not expect '=' here"),
        ("output x string", "does not expect"),
        ("var x = 1\nparam x string", "main.bicep(2,1) : Error: the name 'x' is declared twice"),
        ("var x = y\nvar y = x", "these need each other"),
        ("var x = {\n  k: 1\n  k: 2\n}", "the property k is given twice"),
        (r"var x = 'a\d'", r"the escape \d does not exist"),
        ("var x = [for i in range(0, 3): i]", "a for-loop is outside of the stage's subset"),
        ("param l array\nvar x = map(l, i => i)", "a lambda is outside"),
        ("var x = utcNow()", "the function 'utcNow' is outside"),
        ("var x = reference('y')", "the function 'reference' is outside"),
        ("var x = 'a' =~ 'A'", "`=~` is outside"),
        ("param x weight", "the type weight is not declared"),
        ("param x {\n  a: int\n}", "an object's type needs a name"),
        ("@sealed()\ntype t = string", "@sealed() is for an object's type"),
        ("func f(a string) string => a", "a function of one's own is outside"),
        ("extension kubernetes", "`extension` is outside"),
        ("import * as y from 'part.bicep'", "`import` with `*` or `as` is outside"),
        ("import { x } from 'y.bicep'", "there is no module y.bicep"),
        ("import { x } from 'part.bicep'", "part.bicep exports no type 'x'"),
        ("@sealed()\nparam x object", "@sealed() cannot stand here"),
        ("@secure()\nparam x int", "@secure() is for string and object"),
        ("var y = 1\nparam x int = y", "a default can use other parameters only, not 'y'"),
        ("var y = 1\n@maxLength(y)\nparam x string", "@maxLength() takes one argument, a constant"),
        ("targetScope = 'subscription'", "the target scope 'subscription' is outside"),
        ("var x = resourceGroup('other').id", "resourceGroup() with arguments can only be a scope"),
        ("var x = loadTextContent('none.kql')", "none.kql cannot be read: No such file"),
        ("var x = {\n  k: 1?\n}", "a property with a `?` is outside"),
        ("resource x 'Microsoft.X/y' = {\n  name: 'x'\n}", "'Microsoft.X/y' has no api version"),
        (f"{VAULT} = {{\n  name: 'k'\n  parent: me\n}}\n{IDENTITY} = {{\n  name: 'x'\n}}", "cannot be the parent of a"),
        (f"{VAULT} = {{}}", "the resource 'vault' has no name"),
        (f"{VAULT} = {{\n  name: 'kv'\n  scope: resourceGroup('keys')\n}}", "'vault' is in another scope"),
        (f"{VAULT} existing = {{\n  name: 'kv'\n  location: 'x'\n}}", "'vault' cannot have the property 'location'"),
        (f"{VAULT} = {{\n  name: 'kv'\n}}\noutput keys object = vault.listKeys()", "a function of a resource is"),
        (f"{VAULT} = {{\n  name: 'kv'\n  dependsOn: [\n    x\n  ]\n}}\nparam x string", "dependsOn of 'vault' is"),
        (f"{VAULT} = {{\n  name: me.properties.clientId\n}}\n{IDENTITY} = {{\n  name: 'x'\n}}", "is not known when"),
        (f"{VAULT} = {{\n  name: 'kv'\n  resource key 'keys' = {{\n    name: 'k'\n  }}\n}}", "a resource inside of a"),
        ("module part 'none.bicep' = {}", "there is no module none.bicep"),
        ("module part 'br/public:avm/x:1.0' = {}", "the module path 'br/public:avm/x:1.0' is outside"),
        ("module part 'main.bicep' = {}", "the module main.bicep contains itself"),
        ("module part 'part.bicep' = {}", "part.bicep needs the parameter 'location'"),
        ("module part 'part.bicep' = {\n  params: {\n    place: 'x'\n  }\n}", "part.bicep has no parameter 'place'"),
        ("module part 'part.bicep' = {\n  parameters: {}\n}", "'part' cannot have the property 'parameters'"),
        ("module part 'part.bicep' = {\n  params: {\n    location: 'x'\n  }\n}\noutput x string = part.outputs.y",
         "the module 'part' has no output 'y'"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_outside_of_the_subset_is_refused_by_name(compiled: Compile, text: str, why: str) -> None:
    with pytest.raises(BicepError) as refused:
        compiled(text, part=PART)
    assert why in str(refused.value)


def test_a_fault_in_a_module_names_the_file_of_the_module(compiled: Compile) -> None:
    with pytest.raises(BicepError) as refused:
        compiled("module part 'part.bicep' = {}\n", part="\noutput x string = y\n")
    assert "part.bicep(2,19) : Error: the name 'y' is not declared" in str(refused.value)


def test_the_whole_deployment_compiles() -> None:
    template = compile(ROOT / "bicep" / "main.bicep")
    modules = {file.stem for file in (ROOT / "bicep" / "modules").glob("*.bicep")}
    deployments = {
        name: about["properties"]["template"]
        for name, about in template["resources"].items()
        if about["type"] == "Microsoft.Resources/deployments"
    }
    # One module twice: the gateway reads its certificate, the relay its clients' keys.
    assert deployments.pop("clientKeysVault") == deployments["vault"]
    assert set(deployments) == modules
    (app,) = (one for one in deployments["app"]["resources"].values() if not one.get("existing"))
    assert app["type"] == "Microsoft.App/containerApps"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """On the PATH, and nothing else that could be a compiler."""
    found = tmp_path / "bin"
    found.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(found), str(BIN), "/usr/bin", "/bin"]))
    return found


@pytest.mark.skipif(not (BIN / "az").exists(), reason="azure-cli is not installed")
def test_the_real_az_builds_with_it(directory: Path, tmp_path: Path) -> None:
    install(directory)
    server.write_profile(tmp_path / "azure", "https://127.0.0.1:1")
    (tmp_path / "main.bicep").write_text("param a string\noutput it string = a\n")

    def az(*words: str) -> "subprocess.CompletedProcess[str]":
        environ = {**os.environ, "AZURE_CONFIG_DIR": str(tmp_path / "azure")}
        return subprocess.run([str(BIN / "az"), *words], env=environ, cwd=tmp_path, capture_output=True, text=True)

    built = az("bicep", "build", "--file", "main.bicep", "--stdout")
    assert json.loads(built.stdout) == compile(tmp_path / "main.bicep"), built.stderr
    (tmp_path / "main.bicep").write_text("output it string = a\n")
    failed = az("bicep", "build", "--file", "main.bicep", "--stdout")
    assert failed.returncode == 1
    assert "main.bicep(1,20) : Error: the name 'a' is not declared" in failed.stderr
    assert "the stage's stand-in" in az("bicep", "version").stdout


@pytest.mark.parametrize("order", [("--stdout", "main.bicep"), ("main.bicep", "--stdout")])
def test_the_installed_program_takes_its_arguments_in_the_orders_of_az(
    directory: Path, tmp_path: Path, order: tuple[str, str]
) -> None:
    install(directory)
    (tmp_path / "main.bicep").write_text("output it string = 'x'\n")
    # Files of whoever calls it are not its modules.
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')\n")
    built = subprocess.run(["bicep", "build", *order], cwd=tmp_path, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (0, "")
    assert json.loads(built.stdout)["outputs"]["it"]["value"] == "x"


def test_a_real_compiler_on_the_path_is_left_alone_and_another_stages_stand_in_is_not(
    directory: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    install(directory)
    install(ours)
    assert os.access(ours / "bicep", os.X_OK)
    (ours / "bicep").unlink()
    (directory / "bicep").write_text("#!/bin/sh\necho Bicep CLI version 0.39.26\n")
    (directory / "bicep").chmod((directory / "bicep").stat().st_mode | stat.S_IXUSR)
    install(ours)
    assert not (ours / "bicep").exists()
    assert shutil.which("bicep") == str(directory / "bicep")
