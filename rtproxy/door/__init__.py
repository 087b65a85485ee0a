"""Who may come in. All of it is decided before the 101, and it knows no session."""
