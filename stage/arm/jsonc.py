"""The body of a deployment, which is not JSON: az puts the template's own text into it, comments and all."""

import json
import re
from typing import Any

from stage.platform import Rejected

# A string, or what is to go: a comment, or a comma before a closing bracket.
_STRING = r'"(?:[^"\\]|\\.)*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=\s*[\]}}])", re.DOTALL)
# az writes {"properties": {..., template:{...}}} with this one key unquoted.
_BARE_KEY = re.compile(rf"({_STRING})|\btemplate(?=\s*:)", re.DOTALL)


def parse(text: str) -> dict[str, Any]:
    bare = _COMMENT.sub(lambda found: found[1] or " ", text)
    bare = _TRAILING_COMMA.sub(lambda found: found[1] or "", bare)
    bare = _BARE_KEY.sub(lambda found: found[1] or '"template"', bare)
    try:
        body = json.loads(bare)
    except ValueError as fault:
        raise Rejected("InvalidRequestContent", f"The deployment cannot be parsed: {fault}.") from None
    if not isinstance(body, dict):
        raise Rejected("InvalidRequestContent", "The deployment must be an object.")
    return body
