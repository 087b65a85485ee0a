"""Sockets and frames (RFC 6455): the room that every frame passes. It imports nothing else of the relay."""
