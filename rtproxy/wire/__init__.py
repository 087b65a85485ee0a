"""Sockets and frames (RFC 6455): the only room that a frame passes. Imports nothing else of the relay."""
