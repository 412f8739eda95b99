"""The audit and the legal hold: a change and its entry together, and nothing that could alter an entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.cli.conftest import Continuity, continuity, home, offline, session

from session_continuity import Conflict, NotFound, Refused, SessionContinuity
from session_continuity.domain.audit import audited
from session_continuity.domain.operation import Operation
from session_continuity.domain.session_registry import close_session

__all__ = ["continuity", "home", "offline", "session"]
Connection = psycopg.Connection[Any]


def close_as(client: SessionContinuity, session: str, person: str = "Ada") -> None:
    client.run(audited(close_session(session), "close_session", session, person=person, via="cli"))


def test_a_change_and_its_entry_are_stored_together(client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    close_as(client, session)
    (entry,) = client.list_actions(subject=session)
    assert (entry.person, entry.via, entry.action, entry.subject) == ("Ada", "cli", "close_session", session)
    assert client.get_session(session).status == "closed"


def test_a_change_that_fails_leaves_no_entry_and_an_entry_that_fails_no_change(
    client: SessionContinuity, connection: Connection
) -> None:
    session = client.register_session("shop").instance_id
    client.resume_session(session)
    with pytest.raises(Conflict):
        close_as(client, session)
    assert client.list_actions() == []
    other = client.register_session("shop").instance_id
    connection.execute("ALTER TABLE audit_actions ADD CONSTRAINT nobody CHECK (person <> 'Eve')")
    with pytest.raises(Exception, match="nobody"):
        close_as(client, other, "Eve")
    assert client.get_session(other).status == "active"


def test_without_one_transaction_the_change_would_stay(client: SessionContinuity, connection: Connection) -> None:
    """The control."""
    session = client.register_session("shop").instance_id
    connection.execute("ALTER TABLE audit_actions ADD CONSTRAINT nobody CHECK (person <> 'Eve')")
    whole = audited(close_session(session), "close_session", session, person="Eve", via="cli")
    apart: Operation[Any] = Operation(whole.name, whole.steps, atomic=False)
    with pytest.raises(Exception, match="nobody"):
        client.run(apart)
    assert client.get_session(session).status == "closed"


@pytest.mark.parametrize("role", ["continuity_writer", "supervisor"])
def test_no_role_of_the_product_can_alter_an_entry(
    client: SessionContinuity, connection: Connection, role: str
) -> None:
    client.record_action("look", "x", person="Ada", via="cli")
    connection.execute(f"SET ROLE {role}".encode())
    for command in (
        "UPDATE audit_actions SET person = 'Eve'",
        "DELETE FROM audit_actions",
        "TRUNCATE audit_actions",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(command.encode())


def test_entries_have_pages(client: SessionContinuity) -> None:
    for number in range(5):
        client.record_action("look", f"s{number}", person="Ada", via="cli")
    first = client.list_actions(limit=3)
    rest = client.list_actions(before=(first[-1].at, first[-1].action_id))
    assert [one.subject for one in (*first, *rest)] == ["s4", "s3", "s2", "s1", "s0"]


def test_a_held_session_is_not_forgotten_or_deleted_until_it_is_released(
    client: SessionContinuity, connection: Connection
) -> None:
    session = client.register_session("shop").instance_id
    client.close_session(session)
    assert client.hold_session(session).legal_hold
    with pytest.raises(Refused, match="legal hold"):
        client.forget_session(session)
    with pytest.raises(psycopg.errors.RaiseException, match="legal hold"):
        connection.execute("DELETE FROM supervisor_sessions")
    assert not client.release_session(session).legal_hold
    client.forget_session(session)
    with pytest.raises(NotFound):
        client.hold_session("nobody-PS-000000")


def test_the_products_own_role_may_not_lift_a_hold(client: SessionContinuity, connection: Connection) -> None:
    session = client.hold_session(client.register_session("shop").instance_id).instance_id
    connection.execute("SET ROLE continuity_writer")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE supervisor_sessions SET legal_hold = false")
    assert client.get_session(session).legal_hold


def test_hold_release_and_audit_on_the_command_line(
    continuity: Continuity, client: SessionContinuity, session: str
) -> None:
    assert continuity("sessions", "hold", session, "--reason", "case 7", "--person", "Ada", "--json").document[
        "legal_hold"
    ]
    assert "not on legal hold" in continuity("sessions", "release", session, "--reason", "over").err
    told = continuity("audit", "list", "--subject", session, "--json").document
    assert [(one["action"], one["details"]["reason"]) for one in told] == [
        ("release_session", "over"),
        ("hold_session", "case 7"),
    ]
    assert "Ada" in continuity("audit", "list").out


def test_an_export_is_whole_and_replaces_nothing_unasked(
    continuity: Continuity, client: SessionContinuity, session: str, tmp_path: Path
) -> None:
    file = tmp_path / "session.html"
    told = continuity("sessions", "export", session, "--output", str(file), "--json").document
    assert told["bytes"] == file.stat().st_size
    again = continuity("sessions", "export", session, "--output", str(file))
    assert (again.code, "--force" in again.err) == (2, True)
    assert continuity("sessions", "export", session, "--output", str(file), "--force").code == 0
    assert list(tmp_path.iterdir()) == [file]
    assert continuity("sessions", "export", session, "--output", str(tmp_path / "no" / "x")).code == 2
