"""Side by side: what a frame, a call and a handshake cost here and in other relays, in one run.

arguments.py   the command line
shapes.py      which shapes there are, and what each does and measures
load/          the callers and the model, in this process
peers/         how each relay is set up and started
process.py     a peer as a process, its CPU and memory, and a profile of it
result.py      figures, medians, ratios, and their file; what a run is made on
targets.py     the figures that ours are meant to reach
table.py       for the terminal and the README
page.py plot.py    for the eye
check.py       ratios of a good run, and whether a later one is as good
beside/        what a frame costs beside another commit
floods/        what floods of small frames cost others

Nothing of rtproxy, clients or stage is imported: our relay is a process like the others.
"""
