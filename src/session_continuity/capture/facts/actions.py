"""What a tool call does, in one or two words: the `action` column of the command log."""

from __future__ import annotations

import re

from session_continuity.capture.facts.facts import Record
from session_continuity.capture.facts.shell_commands import command_text, segments
from session_continuity.capture.facts.transcripts import names

SHELL_TOOLS = names("Bash bash run_shell_command shell shell_command exec_command local_shell container.exec")
"""Claude Code: Bash; OpenCode: bash; Gemini: run_shell_command; Codex: the others, 0.104 on exec_command."""

SUBAGENT_TOOLS = frozenset({"Task", "Agent", "spawn_agent", "task", "invoke_agent"})
"""Claude Code: Task, later Agent; Codex: spawn_agent; OpenCode: task; Gemini CLI: invoke_agent."""

_NAMED = {
    "MultiEdit": "edit",
    "NotebookEdit": "edit",
    "multiedit": "edit",
    "replace": "edit",
    "write_file": "write",
    "read_file": "read",
    "WebFetch": "fetch",
    "webfetch": "fetch",
    "web_fetch": "fetch",
    "google_web_search": "web_search",
    "websearch": "web_search",
    "todowrite": "todo_write",
    "write_todos": "todo_write",
} | dict.fromkeys(SUBAGENT_TOOLS, "spawn_subagent")
_WITH_SUBCOMMAND = names(
    """git gh glab npm pnpm yarn bun deno go cargo dotnet mix make just docker kubectl helm terraform uv
    poetry pip pip3 bundle rails rake composer gcloud aws az fly vercel netlify brew apt apt-get systemctl
    mvn gradle gradlew"""
)
_TRIVIAL = names("cd export source . set echo true sleep pushd popd unset")


def action_of(tool: str, parameters: Record) -> str:
    """`git commit` for a shell command, `edit` for an edit, the bare tool name for an MCP tool."""
    if tool in SHELL_TOOLS:
        return _program(command_text(parameters) or "") or "shell"
    if tool.startswith("mcp__"):
        return tool.rpartition("__")[2] or tool
    return _NAMED.get(tool) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", tool).lower()


def _program(command: str) -> str:
    found = [segment.words for segment in segments(command) if segment.words]
    words = next((words for words in found if words[0] not in _TRIVIAL), found[0] if found else ())
    name = words[0] if words else ""
    if name in _WITH_SUBCOMMAND:
        options = (word for word in words[1:] if re.fullmatch(r"[a-z][\w:.-]*", word))
        name = f"{name} {next(options, '')}".rstrip()
    return name[:80]
