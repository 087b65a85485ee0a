"""Beside a commit: what a frame costs now, against what it cost there. ``nox -s bench -- --beside COMMIT``

run.py          the whole of it, and the exit code
trees.py        both relays in a temporary folder: a git worktree and a copy of the files, each with its environment
command.py      the programs that those two start, and how they end with us
windows.py      both relays up at once, measured in turn
statistic.py    the median of the paired ratios, its interval, and what "at most 1.02" means
report.py       for the terminal, the file, and the eye
"""
