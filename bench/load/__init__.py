"""The load: callers and the model in one process, on raw sockets, cheap enough never to be what is measured.

`wire` the frames, `handshake` how a call opens, `end` one side of a call, `pace` when each of them speaks,
`generator` all of them together.
"""
