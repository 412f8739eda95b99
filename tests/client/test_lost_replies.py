"""R8, D6: the server commits, the answer is lost, the library asks again with the same id: nothing is doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.client.proxy import Proxy
from tests.client.records import contents, is_whole, new_session, note, texts

from session_continuity import AsyncSessionContinuity, NewCommand, SessionContinuity
from session_continuity.domain import event_store
from session_continuity.domain.operation import Operation
from session_continuity.domain.work_state import canonical

FAULTS = 30


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    with Proxy(database) as proxy:
        yield proxy


@pytest.fixture
def through(proxy: Proxy) -> Iterator[SessionContinuity]:
    """The library, connected through the proxy."""
    with SessionContinuity(dsn=proxy.conninfo, deadline_seconds=15) as client:
        client.find_sessions(limit=1)
        yield client


def test_an_event_whose_answer_was_lost_is_stored_once(
    client: SessionContinuity, through: SessionContinuity, proxy: Proxy
) -> None:
    session = new_session(client)
    for number in range(FAULTS):
        proxy.lose()
        answer = through.append_event(session, "note_recorded", {"text": str(number)})
        assert answer.sequence_nums == (number + 2,)
    assert proxy.lost == FAULTS
    assert texts(client.read_events(session)) == [str(number) for number in range(FAULTS)]
    assert is_whole(client, session)


def test_a_new_id_for_each_attempt_would_store_duplicates(
    client: SessionContinuity, through: SessionContinuity, proxy: Proxy
) -> None:
    """Control: the same faults, the same library, but an id made anew at each attempt."""
    session = new_session(client)

    def careless(number: int) -> Operation[Any]:
        def steps() -> Any:
            return (yield from event_store.append_event(session, "note_recorded", {"text": str(number)}).steps())

        return Operation("careless_append", steps)

    for number in range(FAULTS):
        proxy.lose()
        through.run(careless(number))
    stored = texts(client.read_events(session))
    assert len(stored) - len(set(stored)) == proxy.lost == FAULTS


WRITES: dict[str, Callable[[SessionContinuity, str], Any]] = {
    "append_events": lambda c, s: c.append_events(s, [note(str(n)) for n in range(50)]),
    "append_events_with_own_ids": lambda c, s: c.append_events(
        s, [note(str(n), operation=f"own {n}") for n in range(5)]
    ),
    "take_checkpoint": lambda c, s: c.take_checkpoint(s),
    "record_command": lambda c, s: c.record_command(s, NewCommand(command_type="tool", action="Bash")),
    "record_commands": lambda c, s: c.record_commands(s, [NewCommand(command_type="tool", action="Bash")] * 1),
    "record_outcome": lambda c, s: c.record_outcome(
        s, tool_call_id="call 1", outcome="failure", error_message="no"
    ),
    "send_heartbeat": lambda c, s: c.send_heartbeat(s, context_percent=40),
    "close_session": lambda c, s: c.close_session(s),
    "register_session": lambda c, s: c.register_session("other"),
    "resume_session": lambda c, s: c.resume_session(s),
    "rewind_session": lambda c, s: c.rewind_session(s, 2),
    "fork_session": lambda c, s: c.fork_session(s),
}


def rows(database: str) -> list[int]:
    return [table[0] for table in contents(database)]


@pytest.mark.parametrize("write", WRITES)
def test_every_write_happens_once_when_its_answer_is_lost(
    client: SessionContinuity, through: SessionContinuity, proxy: Proxy, database: str, write: str
) -> None:
    def prepare() -> str:
        session = new_session(client)
        client.append_event(session, "prompt_submitted", {"text": "go"})
        client.record_command(session, NewCommand(command_type="tool", action="Bash", tool_call_id="call 1"))
        return session

    one, other = prepare(), prepare()
    before = rows(database)
    WRITES[write](client, one)
    once = [after - first for after, first in zip(rows(database), before, strict=True)]
    before = rows(database)
    proxy.lose()
    WRITES[write](through, other)
    assert proxy.lost == 1
    assert [after - first for after, first in zip(rows(database), before, strict=True)] == once
    assert is_whole(client, other)


@pytest.mark.parametrize("how", ["resume", "fork"])
def test_a_continuation_whose_answer_was_lost_gives_the_same_answer(
    client: SessionContinuity, through: SessionContinuity, proxy: Proxy, how: str
) -> None:
    session = new_session(client)
    client.append_event(session, "note_recorded", {"text": "decided"})
    recovered = client.recover_state(session)
    proxy.lose()
    answer = through.resume_session(session) if how == "resume" else through.fork_session(session)
    assert proxy.lost == 1
    assert answer.recovery == recovered
    assert answer.successor is not None
    replayed = client.replay_events(answer.successor.instance_id).work_state
    assert canonical(client.recover_state(answer.successor.instance_id).work_state) == canonical(replayed)


def test_merged_appends_whose_answers_were_lost_are_stored_once(client: SessionContinuity, proxy: Proxy) -> None:
    sessions = [new_session(client) for _ in range(3)]

    async def main() -> None:
        async with AsyncSessionContinuity(dsn=proxy.conninfo, deadline_seconds=15) as through:
            await through.find_sessions(limit=1)
            for turn in range(5):
                proxy.lose()
                await asyncio.gather(
                    *(
                        through.append_event(sessions[n % 3], "note_recorded", {"text": f"{turn}-{n}"})
                        for n in range(30)
                    )
                )

    asyncio.run(main())
    assert proxy.lost == 5
    stored = [text for session in sessions for text in texts(client.read_events(session))]
    assert sorted(stored) == sorted(f"{turn}-{n}" for turn in range(5) for n in range(30))
    assert all(is_whole(client, session) for session in sessions)


def test_calls_outlast_connections_that_are_reset_all_the_time(
    client: SessionContinuity, through: SessionContinuity, proxy: Proxy
) -> None:
    session = new_session(client)
    for number in range(FAULTS):
        proxy.cut()
        through.append_event(session, "note_recorded", {"text": str(number)})
    assert texts(client.read_events(session)) == [str(number) for number in range(FAULTS)]
