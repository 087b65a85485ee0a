"""The module `az` in the process of the task: Azure CLI is imported once a play, not once a task.

To import the CLI's commands takes half a second, two seconds where Python may keep no compiled code, and a rollout runs
more than fifty of them. Ansible forks a process for each task; what its first process has imported, all of them have.
Nothing else is different: the module does the work, and does all of it where a task is asynchronous.
"""

import importlib.util
from pathlib import Path

from ansible.plugins.action import ActionBase

_PATH = Path(__file__).parents[1] / "library" / "az.py"
_spec = importlib.util.spec_from_file_location("rtproxy_az", _PATH)
module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(module)
module.import_commands("containerapp")


# Of a task's time, the part in which a busy service is asked again. In the rest a last answer comes, and is said.
PATIENT = 0.8


class ActionModule(ActionBase):
    _supports_async = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        if limit := self._task.async_val or self._task.timeout:
            self._task.args.setdefault("patience", PATIENT * limit)
        if self._task.async_val:
            return result | self._execute_module(task_vars=task_vars, wrap_async=True)
        _, params = self.validate_argument_spec(module.ARGUMENTS)
        return result | module.answered(params, self._task.check_mode, self._display.display)
