"""Sockets and frames (RFC 6455): the only room that a frame passes. It imports nothing else of the relay."""
