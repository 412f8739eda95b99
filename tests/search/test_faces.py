"""The search on the command line and over MCP."""

from __future__ import annotations

from tests.cli.conftest import Continuity, continuity, home, offline, session

from session_continuity import SessionContinuity

__all__ = ["continuity", "home", "offline", "session"]


def test_a_search_without_a_server_indexes_first(
    continuity: Continuity, client: SessionContinuity, session: str
) -> None:
    client.append_event(session, "note_recorded", {"kind": "decision", "text": "Round \x1b[31m once"})
    told = continuity("search", "round", "--kind", "event", "--json").document
    assert [(one["instance_id"], one["kind"], one["reference"]) for one in told] == [(session, "event", 2)]
    shown = continuity("search", "round", "once").out
    assert "[Round]" in shown
    assert "\x1b" not in shown
    assert continuity("search", "...").code == 2
    assert "nothing found" in continuity("search", "needle").err
