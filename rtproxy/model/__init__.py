"""The model's side: its address, the dial, the identity of the relay, and the turns of a call."""
