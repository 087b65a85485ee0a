"""The Autobahn test suite, once against an echo itself and once with the relay between: `nox -s conformance`.

suite       the suite as it is installed and run: the client of the relay's one leg and the model of its other
comparison  whether the relay made a case worse, which is what counts
"""
