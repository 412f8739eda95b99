"""What every tool, resource and prompt is given."""

from __future__ import annotations

from dataclasses import dataclass

from session_continuity.async_client import AsyncSessionContinuity


@dataclass(frozen=True, slots=True)
class App:
    """The client, and whether the server runs where its agents work: only then does it look at a working tree;
    over HTTP a caller could else ask about folders of another machine."""

    client: AsyncSessionContinuity
    is_local: bool
