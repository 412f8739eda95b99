"""The search: what is found, by which words, where; and an index that misses nothing."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from session_continuity import InvalidInput, NewCommand, SessionContinuity
from session_continuity.domain.operation import Operation
from session_continuity.domain.project_view import within
from session_continuity.domain.search import Found, search_records

Connection = psycopg.Connection[Any]


def index(client: SessionContinuity) -> None:
    while client.index_records(all_sessions=True).more:
        pass


def places(found: list[Found]) -> list[tuple[str, int]]:
    return [(one.kind, one.reference) for one in found]


@pytest.fixture
def session(client: SessionContinuity) -> str:
    """A session with something of every kind to find."""
    instance_id = client.register_session("shop", current_epic="Checkout of Zürich").instance_id
    client.append_event(instance_id, "prompt_submitted", {"text": "Mend tests/test_500.py, it rounds twice"})
    client.append_event(instance_id, "note_recorded", {"kind": "decision", "text": "Round once, at the end"})
    client.record_command(
        instance_id,
        NewCommand(
            command_type="tool", tool_name="Bash", action="pytest tests/test_500.py", tool_call_id="t",
            outcome="failure", error_message="AssertionError: naïve total", result={"stdout": "1 failed"},
        ),
    )  # fmt: skip
    client.take_checkpoint(instance_id)
    index(client)
    return instance_id


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("test_500", ["checkpoint", "command", "event"]),
        ("tests/test_500.py", ["checkpoint", "command", "event"]),
        ("TEST_500 pytest", ["command"]),
        ('"rounds twice"', ["checkpoint", "event"]),
        ('"twice rounds"', []),
        ("round*", ["checkpoint", "event", "event"]),
        ("round* -twice", ["event"]),
        ("pytest OR decision", ["checkpoint", "command", "event"]),
        ("naïve", ["command"]),
        ("Zürich", ["checkpoint", "event", "session"]),
        ("nothing-like-it", []),
    ],
)
def test_words_are_found_where_they_stand(
    client: SessionContinuity, session: str, query: str, kinds: list[str]
) -> None:
    found = client.search_records(query)
    assert sorted(one.kind for one in found) == kinds
    assert {one.instance_id for one in found} <= {session}


def test_a_hit_leads_to_its_place_and_marks_the_words(client: SessionContinuity, session: str) -> None:
    (found,) = client.search_records('"Round once"', kinds=["event"])
    (event,) = client.read_events(session, after=found.reference - 1, until=found.reference)
    assert event.event_data["text"] == "Round once, at the end"
    assert [text for text, is_word in found.snippet if is_word] == ["Round once"]
    assert "".join(text for text, _ in found.snippet).count("Round once") == 1
    (command,) = client.search_records("pytest", kinds=["command"])
    assert client.get_command(session, command_id=command.reference).action == "pytest tests/test_500.py"
    assert (command.title, command.outcome) == ("Bash pytest tests/test_500.py", "failure")


@pytest.mark.parametrize(
    "query",
    ["", " ", "...", "-word", "'", "\0", "<->", "\\", "*", "((", "a" * 1_001, " ".join("abcdefghijklmnopqrstu")],
)
def test_a_query_that_asks_for_nothing_is_refused(client: SessionContinuity, query: str) -> None:
    with pytest.raises(InvalidInput):
        client.search_records(query)


@pytest.mark.parametrize(
    "query",
    ["a'b", "a & b | !c", "a:*", "x) | (y", "'; DROP TABLE alerts", "a*b*", "ä", "-a b"],
)
def test_no_query_is_more_than_words(client: SessionContinuity, session: str, query: str) -> None:
    client.search_records(query)


def test_an_outcome_that_comes_later_is_found_later(client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    client.record_command(session, NewCommand(command_type="tool", action="make all", tool_call_id="t"))
    index(client)
    assert len(client.search_records("make")) == 1
    client.record_outcome(session, tool_call_id="t", outcome="failure", error_message="linker exploded")
    index(client)
    assert len(client.search_records("exploded")) == 1
    assert len(client.search_records("make")) == 1


def test_pages_go_on_and_end(client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    for number in range(25):
        client.append_event(session, "note_recorded", {"kind": "x", "text": f"needle {number}"})
    index(client)
    seen: list[int] = []
    before = None
    while page := client.search_records("needle", before=before, limit=7):
        seen += [one.reference for one in page]
        before = page[-1].at, page[-1].document_id
    assert seen == list(range(26, 1, -1))


def test_who_sees_some_projects_finds_nothing_of_others(client: SessionContinuity, session: str) -> None:
    def among(*projects: str) -> list[Found]:
        asked: Operation[list[Found]] = search_records("test_500")
        return client.run(within(frozenset(projects), asked))

    assert len(among("shop", "bank")) == 3
    assert among("bank") == []
    assert among() == []


def test_what_is_forgotten_or_deleted_is_found_no_more(
    client: SessionContinuity, connection: Connection, session: str
) -> None:
    other = client.register_session("shop", current_epic="test_500").instance_id
    index(client)
    client.close_session(session)
    client.forget_session(session)
    index(client)
    assert {one.instance_id for one in client.search_records("test_500")} == {other}
    connection.execute("DELETE FROM supervisor_sessions WHERE instance_id = %s", (other,))
    assert client.search_records("test_500") == []
    rows = connection.execute("SELECT count(*) FROM search_documents").fetchall()
    assert rows == [(0,)]


def record_in_another(connection: Connection, session: str, action: str) -> None:
    connection.execute(
        "INSERT INTO command_log (instance_id, command_type, action, success) VALUES (%s, 'tool', %s, true)",
        (session, action),
    )


def test_a_command_that_is_committed_late_is_not_missed(client: SessionContinuity, database: str) -> None:
    """Its id is lower than those that were indexed before it could be seen."""
    session = client.register_session("shop").instance_id
    with psycopg.connect(database) as slow:
        record_in_another(slow, session, "latecomer")
        for number in range(2_500):
            client.record_command(
                session, NewCommand(command_type="tool", action=f"quick {number}", outcome="success")
            ) if number % 500 == 0 else None
        index(client)
        assert len(client.search_records("quick", limit=500)) == 5
        assert client.search_records("latecomer") == []
        slow.commit()
    index(client)
    assert len(client.search_records("latecomer")) == 1


def test_a_late_command_far_below_the_others_is_not_missed_either(
    client: SessionContinuity, database: str, connection: Connection
) -> None:
    """The control is the second half: with the cursor moved past it, as one by number alone would be, it is
    missed."""
    session = client.register_session("shop").instance_id
    with psycopg.connect(database) as slow, psycopg.connect(database) as slower:
        record_in_another(slow, session, "latecomer")
        record_in_another(slower, session, "straggler")
        connection.execute(
            "INSERT INTO command_log (instance_id, command_type, action, success)"
            " SELECT %s, 'tool', 'quick', true FROM generate_series(1, 5000)",
            (session,),
        )
        index(client)
        slow.commit()
        index(client)
        assert len(client.search_records("latecomer")) == 1
        connection.execute("UPDATE search_progress SET command_id = (SELECT max(id) FROM command_log)")
        slower.commit()
    index(client)
    assert client.search_records("straggler") == []


def test_several_that_index_at_once_index_everything_once(database: str, connection: Connection) -> None:
    with SessionContinuity(dsn=database, connections=8) as client:
        for number in range(20):
            session = client.register_session("shop").instance_id
            client.append_event(session, "note_recorded", {"kind": "x", "text": f"needle {number}"})
            client.record_command(session, NewCommand(command_type="tool", action="needle", outcome="success"))
        threads = [threading.Thread(target=index, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(client.search_records("needle", limit=500)) == 40


def test_the_words_are_found_by_their_index(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO supervisor_sessions (instance_id, project, instance_type) VALUES ('p-PS-000001', 'p', 'PS')"
    )
    connection.execute(
        "INSERT INTO search_documents (kind, instance_id, reference, at, words)"
        " SELECT 'event', 'p-PS-000001', n, now(), search_vector('word' || n) FROM generate_series(1, 20000) n"
    )
    connection.execute("ANALYZE search_documents")
    explain = "EXPLAIN SELECT * FROM search_documents WHERE words @@ to_tsquery('pg_catalog.simple', '''word7''')"
    plan = "\n".join(row[0] for row in connection.execute(explain).fetchall())
    assert "search_documents_words" in plan
    connection.execute("DROP INDEX search_documents_words")
    assert "Seq Scan" in "\n".join(row[0] for row in connection.execute(explain).fetchall())
