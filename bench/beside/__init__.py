"""Beside a commit: what a frame costs now, against what it cost there. ``nox -s bench -- --beside COMMIT``

run.py          the whole of it, and the exit code
trees.py        the files of both sides in a temporary folder: a git worktree, and a copy of the files as they are
environment.py  an environment for each, from its own lock file
command.py      the programs that those two start, and how they end with us
windows.py      both relays up at once, measured in turn
statistic.py    the median of the paired ratios, its interval, and what "at most 1.02" means
report.py       for the terminal, and the file
picture.py      for the eye
"""
