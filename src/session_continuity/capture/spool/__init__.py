"""Captures on disk until they are stored: written, drained, forwarded."""
