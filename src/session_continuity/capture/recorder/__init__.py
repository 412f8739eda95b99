"""From facts to rows, live and from recordings."""
