"""What the compiler's linter warns of, as far as it can be seen without it. What stays is silenced where it stands."""

import json
import re
from pathlib import Path

import pytest

# A rule, what it looks for in a line, and what of that is fine.
RULES = {
    "use-user-defined-types": (r"^(param|output) \w+ (array|object)\b", None),
    "use-resource-id-functions": (r"^\s*id: '", None),
    "secure-secrets-in-params": (r"(?i)^param \w*(secret|password)\w* ", r"(?i)^param \w*secret(name|uri|url)s? "),
    "use-recent-api-versions": (r"@20\d\d-\d\d-\d\d-preview'", None),
}


def lines(folder: Path) -> list[tuple[str, str, str, str]]:
    """File, line, and the two lines above it, of all files."""
    found = []
    for path in sorted(folder.rglob("*.bicep")):
        text = ["", "", *path.read_text().splitlines()]
        above = zip(text, text[1:], text[2:], strict=False)
        found += [(path.name, line, just_above, reason) for reason, just_above, line in above]
    return found


@pytest.mark.parametrize("rule", RULES)
def test_a_warning_is_gone_or_silenced_where_it_stands_with_its_reason(bicep: Path, rule: str) -> None:
    wanted, fine = RULES[rule]
    for file, line, above, reason in lines(bicep):
        if re.search(wanted, line) and not (fine and re.search(fine, line)) and "@secure" not in above:
            assert above.strip() == f"#disable-next-line {rule}", f"{file}: {line}"
            assert reason.strip().startswith("//"), f"{file}: {line}"


def test_every_rule_that_is_silenced_is_one_that_the_configuration_turns_on(bicep: Path) -> None:
    rules = json.loads((bicep / "bicepconfig.json").read_text())["analyzers"]["core"]["rules"]
    silenced = {line.split()[1] for _, line, _, _ in lines(bicep) if line.strip().startswith("#disable")}
    assert silenced
    assert silenced <= set(rules)
    assert set(RULES) <= set(rules)
