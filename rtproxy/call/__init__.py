"""One call's life: session, splice, ending, heartbeat, gate, drain, and the roster of the open calls."""
