"""The dashboard: pages for people, rendered on the server and kept current by one stream of changes."""
