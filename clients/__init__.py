"""What an engineer runs against any WebSocket relay in front of gpt-realtime, or against the model itself.

`hold` keeps many voice calls up for a long time and fails when one is cut. A call is one place in the hold; a session
is one WebSocket that the place had, and with --call-seconds each is a call of its own. The parts, in the order in which
a hold uses them:

options       what the commands have in common; `arguments` is the hold's own command line, as one Plan
target        the URL in one form, the address to dial, credentials, trust
observations  the closed list of what can be observed, and the record
speech        what a caller says: voice-like audio as ready-made events, or a recording of a person
kinds         the kinds of call, each as what its caller asks for and how it takes a turn
dial          one WebSocket, or a refusal that names cause and cure
session       one WebSocket from its 101 to its end: listen, talk (`conversation`), ping
hearing       what a session hears, made of `events` and `responses`: is it whole, in order, and this call's
call          one place's life: a session, and after a cut or a goodbye the next one
summary       observations added up to numbers, and the limits that they must keep
view          the hold for people, while it runs and at its end
hold          all calls of a plan at once, signals, exit code

`probe` asks relays how many calls they carry, once or until none is left (`status` is one round of questions), or dials
as a stranger.

`settle` asks at the callers' address until the answers agree with the weights.

`verdict` judges what holds, relays and the platform recorded, and `report` draws it: `reading` makes `evidence` of the
lines, on one clock (`clocks`); `recorded` has its values, `chance` the statistics; `judging` has the checks, `drawing`
the page.
"""
