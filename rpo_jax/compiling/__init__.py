"""How programs are compiled: options for XLA, and checks for known faults of it."""
