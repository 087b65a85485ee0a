"""The load: callers and the model in one process, on raw sockets, cheap enough never to be what is measured.

`wire` frames and handshakes, `end` one side of a call, `generator` all of them together, each at its own pace.
"""
