"""Reading 1,000 events as typed records."""

from __future__ import annotations

from contextlib import ExitStack

import orjson
from psycopg.types.json import set_json_loads

from harness import Bench, repeat
from peers import Eventsourcing
from session_continuity import NewEvent, SessionContinuity
from workload import EVENT, EVENT_TYPE, connect, register

EVENTS = 1_000
_SELECT = (
    "SELECT event_id, instance_id, event_type, sequence_num, event_data, metadata, timestamp, created_at,"
    " owner_epoch FROM event_store WHERE instance_id = %b ORDER BY sequence_num"
)


def run(bench: Bench) -> None:
    with (
        bench.server.database("read", "library") as dsn,
        bench.server.database("peers") as peers,
        ExitStack() as stack,
    ):
        client = stack.enter_context(SessionContinuity(dsn=dsn))
        (session,) = register(client)
        client.append_events(
            session, [NewEvent(event_type=EVENT_TYPE, event_data=EVENT) for _ in range(EVENTS - 1)]
        )
        plain = stack.enter_context(connect(dsn))
        plain.execute("VACUUM ANALYZE")
        set_json_loads(orjson.loads, plain)
        recorder = Eventsourcing(peers)
        stack.callback(recorder.close)
        figures = bench.measure(
            {
                "product": repeat(lambda: client.read_events(session, limit=EVENTS), EVENTS),
                "plain psycopg and orjson": repeat(lambda: plain.execute(_SELECT, (session,)).fetchall(), EVENTS),
                "eventsourcing": repeat(recorder.reader(EVENTS), EVENTS),
            }
            | _raw(client, session)
        )
        what = "read 1,000 events, typed"
        bench.compare(what, figures, "product", "plain psycopg and orjson", at_least=0.85)
        bench.compare(what, figures, "product", "eventsourcing", at_least=1.5)
        what = "read 1,000 events, raw"
        if "raw" in figures:
            bench.compare(what, figures, "raw", "plain psycopg and orjson", at_least=1.4)
        else:
            bench.skip(what, "no raw mode yet")


def _raw(client: SessionContinuity, session: str) -> dict:
    """The raw mode, once it is there."""
    try:
        client.read_events(session, limit=1, raw=True)
    except TypeError:
        return {}
    return {"raw": repeat(lambda: client.read_events(session, limit=EVENTS, raw=True), EVENTS)}
