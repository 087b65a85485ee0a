"""Bad releases, rolled out to see who finds them; `python -m stage.sabotage` is the command line.

rows        the table: what is wrong, who must find it and by which check; good releases that must pass
rollout     one row: the real stage, with the steps of the play driven from Python
middle      a relay with a man in the middle before it, as a process; `wire` is what it reads and writes
faults      what he can do to the events of a call; switches: what the ingress can do, and what a record can lack
"""
