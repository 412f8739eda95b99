"""One agent each: its hooks, its recordings, its settings."""
