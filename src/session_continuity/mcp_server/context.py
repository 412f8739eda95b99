"""What every tool, resource and prompt is given."""

from __future__ import annotations

from dataclasses import dataclass

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.mcp_server.lifeline import LifeLine


@dataclass(frozen=True, slots=True)
class App:
    """The client, and whether the server runs where its agents work: only then does it look at a working tree;
    over HTTP a caller could else ask about folders of another machine. `life_line` is that of the one agent that
    started this server."""

    client: AsyncSessionContinuity
    is_local: bool
    life_line: LifeLine | None = None
