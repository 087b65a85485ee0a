"""What an engineer runs against any WebSocket relay in front of gpt-realtime, or against the model itself.

`hold` keeps many voice calls up for a long time and fails when one is cut. A call is one place in the hold; a session
is one WebSocket that the place had, and with --call-seconds each is a call of its own. The parts, in the order in which
a hold meets them:

arguments     the command line, checked as a whole (`options`), as one Plan
target        the URL in one form, the `address` to dial, credentials, trust
observations  the closed list of what can be observed; `record` writes it, a line each
speech        what a caller says: voice-like audio as ready-made events, or a `recording` of a person
dial          one WebSocket, or a `refusal` that names cause and cure
session       one WebSocket up to one of its `endings`: listen, talk (`conversation`, `events`), ping (`pings`)
call          one place's life: a session, and after a cut or a goodbye the next one, spaced by `pace`
summary       observations folded into numbers, which `checks` holds against the limits
live          the hold for eyes while it runs; at the end `outcome` and its `table`
hold          all calls of a plan at once, signals, exit code

`probe` asks relays how many calls they carry, once or until none is left: `probe_arguments`, `replicas` (who has to
answer), `status` (one round of questions).

`settle` asks at the callers' address until the answers agree with the weights.

`verdict` judges what holds, relays and the platform recorded, and `report` draws it: `reading` makes
`evidence` of the lines, `facts` and `stops` are what it holds, `judging` has the checks, `drawing` the page.
"""
