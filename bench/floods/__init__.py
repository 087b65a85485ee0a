"""What one client, or its model, can do to others: floods of small frames, and how long others wait meanwhile.

`python -m bench.floods` has its own load: a process that sends bytes as fast as the relay takes them (`pump`), while
this one asks /healthz as a probe does and times the frames of another caller, there and back, through the relay and
past it (`window`).
"""
