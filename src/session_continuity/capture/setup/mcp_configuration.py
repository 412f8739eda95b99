"""The entry of our MCP server in the configuration of clients: shown as it is, or written there and taken out."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from session_continuity.capture.harnesses.harness_settings import Place
from session_continuity.capture.harnesses.mcp_entries import MCP_CLIENTS, McpEntry
from session_continuity.capture.setup.file_parts import FileParts, Part, PlannedEdit, naming
from session_continuity.capture.setup.hooks_part import HARNESSES, hooks_part
from session_continuity.capture.setup.settings_files import decode
from session_continuity.domain.errors import InvalidInput
from session_continuity.settings import Settings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def stdio_entry(settings: Settings) -> McpEntry:
    """The client starts the server itself: by absolute paths, deaf to what a repository puts beside it."""
    python = os.path.abspath(sys.executable)
    words = [python, "-I", "-m", "session_continuity", "mcp", "--home", str(settings.home)]
    return McpEntry(words=words)


def http_entry(url: str, token_variable: str | None) -> McpEntry:
    """The client asks a server that runs; the token stays in the environment. Raises InvalidInput."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url!r} is not an http or https URL, like http://127.0.0.1:7433/mcp", code="mcp_url")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidInput("the URL is written down: no user, password, query or fragment", code="mcp_url")
    if token_variable is not None and not _VARIABLE.fullmatch(token_variable):
        raise InvalidInput(
            f"{token_variable[:40]!r} is not the name of an environment variable; a token itself is never written",
            code="mcp_token_variable",
        )
    return McpEntry(url=url, token_variable=token_variable)


def mcp_part(client: str, place: Place, entry: McpEntry) -> Part:
    """The entry in a client's file."""
    known = MCP_CLIENTS[client]
    return Part(
        name="mcp",
        client=client,
        path=known.file(place),
        within=place.project if place.scope == "project" and client != "claude-code" else None,
        install=lambda text: known.put(text, entry, place),
        uninstall=lambda text: known.remove(text, place),
    )


class McpConfiguration:
    """Plans, applies and undoes the entry alone, for one place."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._files = FileParts(settings.home / "installation")

    def show(self, client: str, entry: McpEntry) -> str:
        """The entry as it stands in a file of nothing else."""
        return MCP_CLIENTS[client].put("", entry, self._place)

    def file(self, client: str) -> Path:
        """The file that the entry belongs into."""
        return MCP_CLIENTS[client].file(self._place)

    def find(self, client: str) -> Mapping[str, Any] | None:
        """The entry in the client's file. Raises InvalidInput or Refused naming the file."""
        part = mcp_part(client, self._place, McpEntry())
        _, content = part.read()
        with naming(part.path):
            return MCP_CLIENTS[client].find(decode(content), self._place)

    def plan(self, client: str, entry: McpEntry) -> list[PlannedEdit]:
        """The edit that puts the entry in. Raises InvalidInput or Refused naming the file."""
        part = mcp_part(client, self._place, entry)
        return self._files.plan([part], self._parts(part))

    def plan_undo(self, client: str) -> list[PlannedEdit]:
        """The edit that takes the entry out. Raises as `plan`."""
        part = mcp_part(client, self._place, McpEntry())
        return self._files.plan_undo([part], self._parts(part))

    def apply(self, planned: Sequence[PlannedEdit]) -> None:
        """Carry edits out. Raises Refused when a file is not what was planned on."""
        self._files.apply(planned)

    def undo(self, planned: Sequence[PlannedEdit]) -> None:
        """Carry the edits of `plan_undo` out. Raises Refused as `apply`."""
        self._files.undo(planned)

    def _parts(self, part: Part) -> list[Part]:
        """All that the client's files may hold of ours."""
        if part.client not in HARNESSES:
            return [part]
        return [hooks_part(self._settings, part.client, self._place), part]
