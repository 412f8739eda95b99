"""The MCP server: the records and the recovery for any agent. The only place that knows the MCP SDK."""

from session_continuity.mcp_server.app import create_server, http_app, open_guarded_app, serve_stdio

__all__ = ["create_server", "http_app", "open_guarded_app", "serve_stdio"]
