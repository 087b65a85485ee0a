"""The status of the answer to GET `url`, -1 where there is none, as ansible.builtin.uri has it: see run.py."""

from http.client import HTTPException
from urllib.error import HTTPError

from ansible.module_utils.urls import ConnectionError as NotReached  # what no certificate vouches for, too
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

TIMEOUT_S = 30


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec({"url": {"type": "str", "required": True}})
        return result | {"changed": False, "url": given["url"], "status": status(given["url"])}


def status(url):
    try:
        with open_url(url, timeout=TIMEOUT_S) as answer:
            return answer.status
    except HTTPError as refused:
        return refused.code
    except (OSError, ValueError, HTTPException, NotReached):
        return -1
