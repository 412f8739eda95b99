"""The HTTP server: one application, its access rules and its routes."""
