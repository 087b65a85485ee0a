"""What a task that was begun with `async` and `poll: 0` ended with, once it has ended, in the process of this task.

async_status is a module, of which each look costs half a second of the processor: see run.py. Here the file is read
that async_status reads. Whoever began the task set its time limit; this one's is its `timeout`.
"""

import json
import time
from pathlib import Path

from ansible.plugins.action import ActionBase

BETWEEN_LOOKS_S = 0.1


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {"jid": {"type": "str", "required": True}, "folder": {"type": "path", "required": True}}
        )
        file = Path(given["folder"], given["jid"])
        # A busy machine may be late with it. It is replaced as a whole; what has not ended says that it has started.
        while not file.exists() or "started" in (end := json.loads(file.read_text())):
            time.sleep(BETWEEN_LOOKS_S)
        lines = {f"{name}_lines": end[name].splitlines() for name in ("stdout", "stderr") if name in end}
        return result | end | lines | {"finished": True}
