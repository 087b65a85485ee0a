"""A lean relay for voice calls (WebSockets) between clients and Azure OpenAI gpt-realtime.

The nouns, in the order a call meets them:

    settings   what this replica was told to do                     settings.py, environ.py
    admission  who may come in, decided before the 101              admission.py, handshake.py, origins.py, refusal.py
    stranger   answers to what is no call, and no end of room       answers.py, halfopen.py, strangers.py
    parameters what a call asks for, and what goes on of it         parameters.py
    client     by its key, a ticket or a token, within its limits   clientkeys.py, ticket.py, oidc.py, limits.py
    upstream   the model side: URL, credential, dial                upstream.py, identity.py, dial.py, tls.py
    proxies    what goes out through HTTPS_PROXY                    proxies.py
    session    one client's life, from admission to its summary     session.py
    handover   how aiohttp lets go of the client's socket           handover.py
    splice     the two legs joined, until both are closed           splice.py
    leg        one socket; its wire is the only room a frame passes leg.py, wire.py, kernel.py
    gate       which of a client's events go on, when a list says  gate.py, gated.py
    poller     which of all those sockets have news                 poller.py
    frames     where frames begin and end (RFC 6455), no I/O        frames.py, closing.py
    turns      whose turn it is, and what is still owed             turns.py, tap.py, usage.py
    wheel      one timer for every heartbeat and every stalled leg  wheel.py
    trace      where the call stands in a distributed trace         trace.py, callspan.py
    telemetry  spans and figures over OTLP, when asked for          telemetry.py
    live       the sessions of this replica and their totals        live.py, metrics.py
    drain      from SIGTERM to exit without cutting a turn          drain.py
    events     the closed list of log lines, and where they go      events.py, outlet.py

Downstream is the client side, upstream the model side; a leg is one socket of a session.
"""

__version__ = "0.1.0"
