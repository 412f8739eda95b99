"""Putting the hooks in place, and finding what is wrong with them."""
