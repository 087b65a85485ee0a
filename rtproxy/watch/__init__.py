"""Observation of the calls: metrics, traces, spans."""
