"""A command in the process of the task; what it returns is what ansible.builtin.command returns.

A module is a program of its own, which Python compiles anew each time: half a second of the processor, and a rollout
runs twenty commands while calls are held beside them. Only for plays on the machine that ansible itself runs on.
"""

import subprocess

from ansible.plugins.action import ActionBase

ARGUMENTS = {"argv": {"type": "list", "elements": "str", "required": True}, "chdir": {"type": "str"}}


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(ARGUMENTS)
        result |= {"cmd": given["argv"], "changed": True, "rc": 0}
        if self._task.check_mode:
            return result | {"skipped": True, "msg": "Command would have run if not in check mode"}
        try:
            done = subprocess.run(  # noqa: S603 - there is no shell
                given["argv"],
                cwd=given["chdir"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            return result | {"failed": True, "changed": False, "rc": error.errno, "msg": str(error)} | said("", "")
        if done.returncode:
            result |= {"failed": True, "msg": "non-zero return code"}
        return result | {"rc": done.returncode} | said(done.stdout, done.stderr)


def said(stdout, stderr):
    each = {"stdout": stdout.rstrip("\r\n"), "stderr": stderr.rstrip("\r\n")}
    return each | {f"{name}_lines": text.splitlines() for name, text in each.items()}
