"""Who may come in. Everything here is decided before the 101, and this room knows no session."""
