"""The simulated gpt-realtime; ``stage.realtime`` starts it.

model         one deployment: its live calls, its memory of past ones, its faults
handshake     which callers are accepted, how the others are refused, the GA and the preview dialect
calls         one call from the 101 to its record
wire          the socket of a call, and its record
conversation  client events in, server events out
responses     what is answered, as events and in time
outputs       what a response is made of; tools on MCP servers
audio         the model's voice, and what it hears
shapes        events and items as the service writes them, and the history
options       what can be set: the model's options, the guesses about the service, the session
"""
