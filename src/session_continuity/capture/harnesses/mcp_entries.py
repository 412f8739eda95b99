"""The entry of our MCP server in the configuration of each client that can use it: where it lies, and its form.

A file of a project may be shared, and an entry holds paths of this machine; so where a client has a place for one
user's settings of one project (Claude Code's local scope), that is taken. A token never stands in a file: each
client is told the environment variable that holds it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from session_continuity.capture.harnesses import (
    claude_code_settings,
    codex_settings,
    gemini_cli_settings,
    json_text,
    opencode_settings,
    toml_tables,
)
from session_continuity.capture.harnesses.harness_settings import Place
from session_continuity.capture.harnesses.json_text import Node
from session_continuity.domain.errors import InvalidInput

SERVER = "session-continuity"
"""The name of the entry; one that bears it is ours."""

_OWN = ("type", "command", "args", "url", "httpUrl", "headers", "oauth", "bearer_token_env_var")
"""Members that an entry of ours may have; what a user has added beside them stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpEntry:
    """How a client reaches the server: by the words that start it, or by its URL and the name of the environment
    variable that holds the token."""

    words: Sequence[str] = ()
    url: str | None = None
    token_variable: str | None = None


class McpClient(Protocol):
    """One client's configuration. The functions of text raise InvalidInput where it can't be read."""

    @property
    def name(self) -> str:
        """As the command line calls it."""
        ...

    @property
    def title(self) -> str:
        """As its makers call it."""
        ...

    def file(self, place: Place, /) -> Path:
        """The file that holds the entry."""
        ...

    def put(self, text: str, entry: McpEntry, place: Place) -> str:
        """The text with the entry, and everything else as it was."""
        ...

    def remove(self, text: str, place: Place) -> str:
        """The text without the entry, and without what held nothing else."""
        ...

    def find(self, text: str, place: Place) -> Mapping[str, Any] | None:
        """The entry in the text."""
        ...


@dataclass(frozen=True, slots=True)
class JsonClient:
    """A client whose configuration is a JSON object: `path` leads to the object that holds the servers."""

    name: str
    title: str
    file: Callable[[Place], Path]
    path: Callable[[Place], Sequence[str]]
    members: Callable[[McpEntry], dict[str, Any]]

    def put(self, text: str, entry: McpEntry, place: Place) -> str:
        """The text with the entry."""
        wanted, path = self.members(entry), self.path(place)
        root = json_text.parse_object(text)
        if root is None:
            return json_text.start_object(text, _nested(path, {SERVER: wanted}))
        container = root
        for depth, key in enumerate(path):
            inner = _object(path[: depth + 1], container.member(key))
            if inner is None:
                return json_text.append_member(text, container, key, _nested(path[depth + 1 :], {SERVER: wanted}))
            container = inner
        found = container.member(SERVER)
        if found is None:
            return json_text.append_member(text, container, SERVER, wanted)
        if not isinstance(found.value, dict):
            return json_text.replace(text, found, wanted)
        return self._changed(text, wanted, place)

    def remove(self, text: str, place: Place) -> str:
        """The text without the entry."""
        chain = self._chain(text, place)
        if not chain:
            return text
        while len(chain) > 2 and len(chain[-2].children) == 1:
            chain.pop()
        return json_text.remove(text, chain[-2], chain[-1])

    def find(self, text: str, place: Place) -> Mapping[str, Any] | None:
        """The entry in the text."""
        chain = self._chain(text, place)
        value = chain[-1].value if chain else None
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None

    def _changed(self, text: str, wanted: Mapping[str, Any], place: Place) -> str:
        """The entry changed member by member; each edit moves what follows it."""
        for key in dict.fromkeys((*_OWN, *wanted)):
            entry = self._chain(text, place)[-1]
            member = entry.member(key)
            if member is None and key in wanted:
                text = json_text.append_member(text, entry, key, wanted[key])
            elif member is not None and key not in wanted:
                text = json_text.remove(text, entry, member)
            elif member is not None and member.value != wanted[key]:
                text = json_text.replace(text, member, wanted[key])
        return text

    def _chain(self, text: str, place: Place) -> list[Node]:
        """The objects from the root to the entry, and the entry; empty when there is none."""
        node = json_text.parse_object(text)
        path = self.path(place)
        chain: list[Node] = []
        for depth, key in enumerate((*path, SERVER)):
            if node is None:
                return []
            chain.append(node)
            node = node.member(key)
            if depth < len(path):
                node = _object(path[: depth + 1], node)
        return [*chain, node] if node is not None else []


@dataclass(frozen=True, slots=True)
class CodexClient:
    """Codex: a table of `config.toml`."""

    name: str = codex_settings.HARNESS
    title: str = codex_settings.TITLE

    def file(self, place: Place) -> Path:
        """config.toml, for the user or the project."""
        return codex_settings.settings_file(place).with_name("config.toml")

    def put(self, text: str, entry: McpEntry, place: Place) -> str:  # noqa: ARG002
        """The text with the entry."""
        members: dict[str, Any] = {"url": entry.url, "bearer_token_env_var": entry.token_variable}
        if entry.url is None:
            members = {"command": entry.words[0], "args": list(entry.words[1:])}
        given = {key: value for key, value in members.items() if value is not None}
        return toml_tables.put_table(text, ("mcp_servers", SERVER), given, own=_OWN)

    def remove(self, text: str, place: Place) -> str:  # noqa: ARG002
        """The text without the entry and its own tables."""
        return toml_tables.remove_table(text, ("mcp_servers", SERVER))

    def find(self, text: str, place: Place) -> Mapping[str, Any] | None:  # noqa: ARG002
        """The entry in the text."""
        return toml_tables.find_table(text, ("mcp_servers", SERVER))


def _claude_code(entry: McpEntry) -> dict[str, Any]:
    # Without alwaysLoad the tools are not offered to the model before it searches for them.
    return {**_typed(entry, "${%s}"), "alwaysLoad": True}


def _gemini_cli(entry: McpEntry) -> dict[str, Any]:
    if entry.url is None:
        return {"command": entry.words[0], "args": list(entry.words[1:])}
    return _typed(entry, "$%s")


def _opencode(entry: McpEntry) -> dict[str, Any]:
    if entry.url is None:
        return {"type": "local", "command": list(entry.words), "enabled": True}
    return {"type": "remote", "url": entry.url, **_headers(entry, "{env:%s}"), "oauth": False, "enabled": True}


def _editor(entry: McpEntry) -> dict[str, Any]:
    return _typed(entry, "${env:%s}")


def _typed(entry: McpEntry, variable: str) -> dict[str, Any]:
    if entry.url is None:
        return {"type": "stdio", "command": entry.words[0], "args": list(entry.words[1:])}
    return {"type": "http", "url": entry.url, **_headers(entry, variable)}


def _headers(entry: McpEntry, variable: str) -> dict[str, Any]:
    """The header with the token, as the client's own sign for an environment variable."""
    if entry.token_variable is None:
        return {}
    return {"headers": {"Authorization": "Bearer " + variable % entry.token_variable}}


def _claude_file(place: Place) -> Path:
    moved = place.environment.get("CLAUDE_CONFIG_DIR")
    return (claude_code_settings.settings_folder(place) if moved else place.home) / ".claude.json"


def _claude_path(place: Place) -> Sequence[str]:
    if place.scope == "user":
        return ("mcpServers",)
    folder = place.project.resolve()
    root = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)
    return ("projects", str(root), "mcpServers")


def _opencode_file(place: Place) -> Path:
    folder = opencode_settings.settings_folder(place) if place.scope == "user" else place.project
    with_comments = folder / "opencode.jsonc"
    return with_comments if with_comments.exists() else folder / "opencode.json"


def _cursor_file(place: Place) -> Path:
    return (place.home if place.scope == "user" else place.project) / ".cursor" / "mcp.json"


def _vscode_file(place: Place) -> Path:
    if place.scope == "project":
        return place.project / ".vscode" / "mcp.json"
    if sys.platform == "darwin":
        return place.home / "Library" / "Application Support" / "Code" / "User" / "mcp.json"
    return place.folder("XDG_CONFIG_HOME", ".config") / "Code" / "User" / "mcp.json"


def _in(*path: str) -> Callable[[Place], Sequence[str]]:
    return lambda _: path


_ALL: tuple[McpClient, ...] = (
    JsonClient("claude-code", claude_code_settings.TITLE, _claude_file, _claude_path, _claude_code),
    CodexClient(),
    JsonClient(
        "gemini-cli",
        gemini_cli_settings.TITLE,
        gemini_cli_settings.settings_file,
        _in("mcpServers"),
        _gemini_cli,
    ),
    JsonClient("opencode", opencode_settings.TITLE, _opencode_file, _in("mcp"), _opencode),
    JsonClient("cursor", "Cursor", _cursor_file, _in("mcpServers"), _editor),
    JsonClient("vscode", "VS Code", _vscode_file, _in("servers"), _editor),
)
MCP_CLIENTS = {client.name: client for client in _ALL}
"""Every client whose configuration we know, by name."""


def _nested(path: Sequence[str], value: dict[str, Any]) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


def _object(path: Sequence[str], node: Node | None) -> Node | None:
    if node is not None and not isinstance(node.value, dict):
        raise InvalidInput(f"{'.'.join(path)} is not an object; mend it first", code="settings_not_json")
    return node
