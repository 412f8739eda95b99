"""From what a harness tells to the four records."""
