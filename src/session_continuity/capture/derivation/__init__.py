"""Events that follow from commands."""
