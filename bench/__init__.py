"""Side by side: what a frame, a call and a handshake cost here and in other relays, in one run.

arguments.py            the command line
plan.py shapes.py       which shapes there are, and what each does and measures
load/                   the callers and the model, in this process
peers/                  how each relay is set up and started
process.py              a peer as a process, its CPU and memory
breakdown.py            where our relay's time goes
result.py reading.py    figures, medians, ratios; their file
figures.py targets.py   what figures are called; what ours are meant to reach
table.py rows.py        for the terminal and the README
plot.py bars.py page.py style.py    for the eye
beside/                 what a frame costs beside another commit
floods/                 what floods of small frames cost others
machine.py authority.py what a run is made on, and whose certificate the model has
check.py                ratios of a good run, and whether a later one is as good

Nothing of rtproxy, clients or stage is imported: our relay is a process like the others.
"""
