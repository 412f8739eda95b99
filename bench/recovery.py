"""Recovery from a checkpoint against replay, and saving and loading a state against LangGraph."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count

import psycopg
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver

from harness import Bench, Figures, repeat
from session_continuity import Checkpoint, NewEvent, SessionContinuity
from session_continuity.domain.fold import FoldedEvent, fold
from session_continuity.domain.work_state import WorkState, empty_state
from workload import EVENT, EVENT_TYPE, connect, register

HISTORIES = {1_000: 10, 100_000: 1_500, 1_000_000: 10_000}
"""Events before the checkpoint, and how much faster recovery is than replaying them by hand: a server-side cursor,
the standard library's JSON, and the same fold."""

TAIL = 100

_FILL = """
INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)
SELECT gen_random_uuid(), %(session)s,
    (ARRAY['commit_created', 'test_passed', 'files_changed', 'context_window_updated', 'prompt_submitted'])[
        1 + n %% 5
    ], n, jsonb_build_object(
        'sha', md5(n::text), 'message', 'Step ' || n, 'branch', 'main', 'command', 'pytest tests/' || n %% 40,
        'summary', n %% 90 || ' passed', 'files', jsonb_build_array('src/module_' || n %% 80 || '.py'),
        'percent', n %% 100, 'text', 'Go on with step ' || n
    ), 1
FROM generate_series(%(first)s::int, %(last)s::int) n"""
_OLD_CHECKPOINTS = """
INSERT INTO checkpoints (
    checkpoint_id, instance_id, checkpoint_type, sequence_num, work_state, owner_epoch, state_hash, schema_version,
    timestamp, created_at
)
SELECT gen_random_uuid(), c.instance_id, 'automatic', n, c.work_state, 1, c.state_hash, c.schema_version,
    c.timestamp - (c.sequence_num - n) * interval '1 second',
    c.created_at - (c.sequence_num - n) * interval '1 second'
FROM checkpoints c, generate_series(1000, c.sequence_num - 1, 1000) n
WHERE c.checkpoint_id = %(checkpoint)s"""
_NOTE = "The fence and the number are one statement: read-then-insert let every zombie through. " * 3


def run(bench: Bench) -> None:
    with (
        bench.server.database("recovery", "library") as dsn,
        SessionContinuity(dsn=dsn, deadline_seconds=3_600) as client,
    ):
        sessions = {events: _session(client, dsn, bench.options.rows(events, 5_000)) for events in HISTORIES}
        with connect(dsn) as connection:
            connection.execute("VACUUM ANALYZE")
        figures = bench.measure(
            {
                str(events): repeat(lambda session=session: client.recover_state(session))
                for events, session in sessions.items()
            }
            | {
                "plain replay": repeat(lambda: _replay(dsn, sessions[1_000])),
                "our replay": repeat(lambda: client.replay_events(sessions[1_000])),
            }
        )
        what = "recovery, replay of 1,000"
        bench.compare(what, figures, "1000", "plain replay", at_least=HISTORIES[1_000])
        bench.compare(what, figures, "1000", "our replay")
        for events in (100_000, 1_000_000):
            session, turns = sessions[events], 3 if events == 100_000 else 1
            rates: Figures = {
                "ours": [statistics.median(figures[str(events)])] * turns,
                "plain replay": [_rate(lambda session=session: _replay(dsn, session)) for _ in range(turns)],
                "our replay": [_rate(lambda session=session: client.replay_events(session)) for _ in range(turns)],
            }
            what = f"recovery, replay of {events:,}"
            bench.compare(what, rates, "ours", "plain replay", at_least=HISTORIES[events])
            bench.compare(what, rates, "ours", "our replay")
        times: Figures = {name: [1 / rate for rate in rates] for name, rates in figures.items()}
        bench.compare("recovery, time of 1,000,000 events", times, "1000000", "1000", at_most=1.3)
    save_and_load(bench)


def _session(client: SessionContinuity, dsn: str, events: int) -> str:
    """A session with so many events, a checkpoint of some 20 KB each thousand, and 100 events after the last."""
    (session,) = register(client)
    with connect(dsn) as connection:
        connection.execute(_FILL, {"session": session, "first": 2, "last": events - 61})
        connection.execute(
            "UPDATE supervisor_sessions SET last_sequence_num = %s WHERE instance_id = %s", (events - 61, session)
        )
        notes = [
            NewEvent(event_type="note_recorded", event_data={"kind": "decision", "text": _NOTE}) for _ in range(60)
        ]
        client.append_events(session, notes)
        checkpoint = client.take_checkpoint(session)
        connection.execute(_OLD_CHECKPOINTS, {"checkpoint": checkpoint.checkpoint_id})
    client.append_events(session, [NewEvent(event_type=EVENT_TYPE, event_data=EVENT) for _ in range(TAIL)])
    return session


def _replay(dsn: str, session: str) -> WorkState:
    with psycopg.connect(dsn) as connection, connection.cursor("replay") as cursor:
        cursor.itersize = 1_000
        cursor.execute(
            "SELECT instance_id, event_type, sequence_num, event_data FROM event_store"
            " WHERE instance_id = %s ORDER BY sequence_num",
            (session,),
        )
        return fold(empty_state(), map(FoldedEvent._make, cursor))


def _rate(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return 1 / (time.perf_counter() - start)


def save_and_load(bench: Bench) -> None:
    with ExitStack() as stack:
        dsn = stack.enter_context(bench.server.database("states", "library"))
        peers = stack.enter_context(bench.server.database("peers"))
        client = stack.enter_context(SessionContinuity(dsn=dsn))
        latest = client.latest_checkpoint(_session(client, dsn, 1_000))
        saver = stack.enter_context(PostgresSaver.from_conn_string(peers))
        saver.setup()
        config, version = {"configurable": {"thread_id": "bench", "checkpoint_ns": ""}}, count(1)

        def save() -> None:
            nonlocal latest
            latest = client.take_checkpoint(latest.instance_id, base=latest)

        def put() -> None:
            number = next(version)
            checkpoint = empty_checkpoint() | {
                "channel_values": {"state": latest.work_state},
                "channel_versions": {"state": number},
            }
            saver.put(config, checkpoint, {"source": "loop", "step": number}, {"state": number})

        save()
        put()
        figures = bench.measure(
            {
                "product, save": repeat(save),
                "LangGraph put": repeat(put),
                "product, load": repeat(lambda: _loaded(client, latest)),
                "LangGraph get_tuple": repeat(lambda: saver.get_tuple(config)),
            }
        )
        bench.compare("save the latest 20 KB state", figures, "product, save", "LangGraph put", at_least=1.2)
        bench.compare("load the latest 20 KB state", figures, "product, load", "LangGraph get_tuple", at_least=3)


def _loaded(client: SessionContinuity, latest: Checkpoint) -> Checkpoint:
    return client.latest_checkpoint(latest.instance_id)
