"""What every tool, resource and prompt is given."""

from __future__ import annotations

from dataclasses import dataclass

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.limited_client import LimitedClient
from session_continuity.mcp_server.lifeline import LifeLine
from session_continuity.mcp_server.permissions import READ, require


@dataclass(frozen=True, slots=True)
class App:
    """`is_local`: the server runs where its agents work: only then does it look at a working tree; over HTTP a
    caller could else ask about folders of another machine. `life_line` is that of the one agent that started this
    server. `is_guarded`: nothing is answered without a permission."""

    whole: AsyncSessionContinuity
    is_local: bool
    life_line: LifeLine | None = None
    is_guarded: bool = False

    def require(self, scope: str) -> None:
        """Raises Forbidden when the caller does not have that scope."""
        if self.is_guarded:
            require(scope)

    @property
    def client(self) -> AsyncSessionContinuity:
        """The records as the caller may see them. Raises Forbidden for one who may not read."""
        if not self.is_guarded:
            return self.whole
        projects = require(READ).projects
        return self.whole if projects is None else LimitedClient(self.whole, projects)
