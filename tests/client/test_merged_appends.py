"""Appends in flight together are merged; each keeps its own answer, its own error and its own cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.client.records import contents, is_whole, new_session, note, texts
from tests.client.test_deadlines import row_locked

from session_continuity import (
    Appended,
    AsyncSessionContinuity,
    DeadlineExceeded,
    Fenced,
    InvalidInput,
    NotFound,
    OperationConflict,
    SequenceConflict,
    SessionContinuity,
)
from session_continuity.domain import event_store

Counted = Callable[[], int]


@asynccontextmanager
async def awaiting(database: str, **options: Any) -> AsyncIterator[AsyncSessionContinuity]:
    async with AsyncSessionContinuity(dsn=database, **options) as client:
        await client.find_sessions(limit=1)
        yield client


async def gathered(*calls: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def test_sixty_four_tasks_over_several_sessions_share_few_statements(
    client: SessionContinuity, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [new_session(client) for _ in range(4)]
    statements: list[int] = []
    merged = event_store.append_together

    def counting(appends: Any) -> Any:
        statements.append(len(appends))
        return merged(appends)

    monkeypatch.setattr(event_store, "append_together", counting)

    async def main() -> list[Any]:
        async with awaiting(database) as many:

            async def work(task: int) -> list[Appended]:
                return [
                    await many.append_events(
                        sessions[task % 4], [note(f"{task}-{turn}-{part}") for part in range(1 + task % 3)]
                    )
                    for turn in range(10)
                ]

            return await asyncio.gather(*(work(task) for task in range(64)))

    answers = asyncio.run(main())
    assert sum(statements) == 640
    assert len(statements) <= 64
    for number, session in enumerate(sessions):
        assert is_whole(client, session)
        stored = {event.sequence_num: event.event_data.get("text") for event in client.read_events(session)}
        for task in range(number, 64, 4):
            for turn, answer in enumerate(answers[task]):
                assert [stored[n] for n in answer.sequence_nums] == [
                    f"{task}-{turn}-{part}" for part in range(1 + task % 3)
                ]
            assert [a.last_sequence_num for a in answers[task]] == sorted(
                a.last_sequence_num for a in answers[task]
            )


def test_one_bad_append_among_many_fails_alone(client: SessionContinuity, database: str) -> None:
    good, fenced = new_session(client), new_session(client)
    client.resume_session(fenced)
    client.append_event(good, "note_recorded", {"text": "first"}, operation="used")

    async def main() -> list[Any]:
        async with awaiting(database) as many:
            fine = [many.append_event(good, "note_recorded", {"text": str(n)}) for n in range(20)]
            bad = [
                many.append_event(fenced, "note_recorded", {"text": "zombie"}),
                many.append_event("demo-PS-zzzzzz", "note_recorded", {"text": "nobody"}),
                many.append_event(good, "note_recorded", {"text": "changed"}, operation="used"),
                many.append_event(good, "note_recorded", {"text": "first"}, operation="used"),
                many.append_event(good, "note_recorded", {"text": "x"}, expected_sequence=99),
                many.append_event(good, "note_recorded", {"text": "\0"}),
            ]
            return await gathered(*fine[:10], *bad, *fine[10:])

    answers = asyncio.run(main())
    assert all(isinstance(answer, Appended) for answer in answers[:10] + answers[16:])
    kinds = [type(answer) for answer in answers[10:16]]
    assert kinds == [Fenced, NotFound, OperationConflict, Appended, SequenceConflict, InvalidInput]
    assert answers[13].sequence_nums == (2,)
    assert is_whole(client, good)
    assert sorted(texts(client.read_events(good))) == sorted(["first", *map(str, range(20))])
    assert is_whole(client, fenced)


def test_the_same_id_from_many_tasks_at_once_is_stored_once(client: SessionContinuity, database: str) -> None:
    session = new_session(client)

    async def main() -> list[Any]:
        async with awaiting(database) as many:
            return await gathered(
                *(
                    many.append_event(session, "note_recorded", {"text": f"{n % 5}"}, operation=f"{n % 5}")
                    for n in range(40)
                )
            )

    answers = asyncio.run(main())
    assert all(isinstance(answer, Appended) for answer in answers), answers
    assert sorted(texts(client.read_events(session))) == ["0", "1", "2", "3", "4"]
    assert all(answers[n] == answers[n % 5] for n in range(40))
    assert is_whole(client, session)


def test_a_cancelled_waiter_takes_nobody_with_it(client: SessionContinuity, database: str) -> None:
    session = new_session(client)

    async def main() -> list[Any]:
        async with awaiting(database) as many:
            tasks = [
                asyncio.create_task(
                    many.append_event(session, "note_recorded", {"text": str(n)}, operation=str(n))
                )
                for n in range(30)
            ]
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            answers = await gathered(*tasks)
            for n in range(30):
                await many.append_event(session, "note_recorded", {"text": str(n)}, operation=str(n))
            return answers

    answers = asyncio.run(main())
    for number, answer in enumerate(answers):
        assert isinstance(answer, asyncio.CancelledError if number % 3 == 0 else Appended)
    assert sorted(texts(client.read_events(session)), key=int) == [str(n) for n in range(30)]
    assert is_whole(client, session)


def test_a_cancelled_waiter_in_a_blocked_flush_takes_nobody_with_it(
    client: SessionContinuity, database: str
) -> None:
    session = new_session(client)

    async def main() -> list[Any]:
        async with awaiting(database) as many:
            with row_locked(database, session):
                tasks = [
                    asyncio.create_task(many.append_event(session, "note_recorded", {"text": str(n)}))
                    for n in range(6)
                ]
                await asyncio.sleep(0.2)
                tasks[0].cancel()
                tasks[5].cancel()
            return await gathered(*tasks)

    answers = asyncio.run(main())
    assert [type(answer) for answer in answers] == [
        asyncio.CancelledError,
        *[Appended] * 4,
        asyncio.CancelledError,
    ]
    assert is_whole(client, session)


def test_a_locked_session_holds_up_others_no_longer_than_the_deadline(
    client: SessionContinuity, database: str
) -> None:
    locked, free = new_session(client), new_session(client)

    async def main() -> list[Any]:
        async with awaiting(database, deadline_seconds=1.0) as many:
            with row_locked(database, locked):
                blocked = asyncio.create_task(many.append_event(locked, "note_recorded", {"text": "a"}))
                await asyncio.sleep(0.2)
                waiting = asyncio.create_task(
                    many.append_event(free, "note_recorded", {"text": "b"}, operation="b")
                )
                answers = await gathered(blocked, waiting)
            answers.append(await many.append_event(free, "note_recorded", {"text": "b"}, operation="b"))
            return answers

    answers = asyncio.run(main())
    assert isinstance(answers[0], DeadlineExceeded)
    assert isinstance(answers[1], Appended | DeadlineExceeded)
    assert texts(client.read_events(free)) == ["b"]


def test_an_error_that_nobody_foresaw_reaches_every_waiter(
    client: SessionContinuity, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = new_session(client)

    async def main() -> list[Any]:
        async with awaiting(database) as many:
            with monkeypatch.context() as broken:
                broken.setattr(event_store, "append_together", lambda appends: 1 / 0)
                calls = (many.append_event(session, "note_recorded", {"text": str(n)}) for n in range(5))
                answers = await asyncio.wait_for(gathered(*calls), 5)
            answers.append(await many.append_event(session, "note_recorded", {"text": "after"}))
            return answers

    answers = asyncio.run(main())
    assert all(isinstance(answer, ZeroDivisionError) for answer in answers[:5])
    assert isinstance(answers[5], Appended)


def test_closing_waits_for_the_appends_in_flight(client: SessionContinuity, database: str) -> None:
    session = new_session(client)

    async def main() -> list[Any]:
        many = AsyncSessionContinuity(dsn=database)
        tasks = [
            asyncio.create_task(many.append_event(session, "note_recorded", {"text": str(n)})) for n in range(10)
        ]
        await asyncio.sleep(0)
        await many.close()
        return await gathered(*tasks)

    assert all(isinstance(answer, Appended) for answer in asyncio.run(main()))
    assert len(texts(client.read_events(session))) == 10


def test_a_flush_larger_than_its_limit_is_split(client: SessionContinuity, database: str) -> None:
    session = new_session(client)
    before = contents(database)[2][0]

    async def main() -> None:
        async with awaiting(database) as many:
            await asyncio.gather(*(many.append_events(session, [note("x")] * 400) for _ in range(6)))

    asyncio.run(main())
    assert contents(database)[2][0] - before == 2_400
    assert is_whole(client, session)
