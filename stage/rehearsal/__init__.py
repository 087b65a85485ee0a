"""A whole rollout on the stage, from calls held to a verdict; `python -m stage.rehearse` is its command line.

scenarios   the closed list: what each is about, what it sets, what happens in it, which verdict is the right one
rehearsal   what a scenario can do: hold calls, run a play, type az, wait for an act of the platform
processes   the commands it runs: output to a file, gone when the rehearsal is
steps       the rehearsal for eyes while it runs
"""
