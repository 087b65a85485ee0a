"""The Autobahn test suite, once against an echo itself and once with the relay between: `nox -s conformance`.

The suite talks to the relay's client leg as a client (`asking`) and to its upstream leg as the model (`answering`).
What counts is the difference: `comparison` says for each case whether the relay made it worse.
"""
