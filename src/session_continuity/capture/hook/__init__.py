"""What an agent runs at each of its events."""
