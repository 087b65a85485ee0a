"""A lean relay for voice calls (WebSockets) between clients and Azure OpenAI gpt-realtime.

Downstream is the client side, upstream the model side; a leg is one socket of a session. Five rooms and a hall:

    __main__   the process: environment, signals, exit code
    ticket     the command that mints a ticket
    app        routes, and the wiring of the parts
    carry      the way of a new call: admit, dial, accept

    door/      who may come in, before the 101          admission: keys, tickets, tokens, limits, origins, parameters
    watch/     observation of the calls                 metrics, telemetry, spans
    call/      one call's life                          session, splice, how it ends, heartbeat, gate, drain, roster
    model/     the model's side                         upstream, dial, identity, and the turns of a call
    wire/      sockets and frames (RFC 6455)            poller, socket, flow, outbox, TLS; every frame passes this room

The hall:

    settings   the settings of this replica             with environ, origins and proxies: which values are allowed
    log        the closed list of log events, and the way to stdout
    refusal    an HTTP response instead of the 101
    upgrade    what several rooms need of a WebSocket handshake

Imports point downwards: __main__ and ticket, app, carry, watch, call, model, wire. `door` is beside them: only the
first group imports it, and it knows only the hall. `wire` knows nothing else of the relay. ``nox -s lint`` checks this
(setup.cfg, importlinter).
"""

__version__ = "0.2.0"
"""The only place of the version. setup.cfg reads it without an import, so it must be a plain string."""
