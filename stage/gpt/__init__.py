"""The simulated gpt-realtime; ``stage.realtime`` starts it.

model         one deployment: its live calls, its memory of past ones      model.py, options.py, faults.py
handshake     who gets in, and what the others hear                       handshake.py
call          one call from the 101 to its record                         calls.py, wire.py, record.py
conversation  client events in, server events out                         conversation.py, items.py, history.py
response      what is answered, as events and in time                     answers.py, outputs.py, responses.py
                                                                          speaking.py
ears, voice   what it hears in audio, and its own                         ears.py, transcription.py, voice.py
shapes        sessions and events as the service writes them              shapes.py, terms.py, fields.py
dialects      GA and preview names, translated at the edge                dialects.py, preview.py
"""
