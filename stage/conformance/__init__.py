"""The Autobahn test suite, once against an echo itself and once with the relay between: `nox -s conformance`.

The suite is the client of the relay's one leg and the model of its other (`legs`). What counts is the difference:
`comparison` says of each case whether the relay made it worse.
"""
