"""The peers, each as its documentation sets it up. message-db is not on PyPI and is left out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

from agents.extensions.memory import SQLAlchemySession
from dbos import DBOS, DBOSConfig
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment
from psycopg.conninfo import conninfo_to_dict

from workload import EVENT, EVENT_TYPE


class Eventsourcing:
    """eventsourcing's application recorder, with or without its database functions (off by default)."""

    def __init__(self, dsn: str, *, functions: bool = False, connections: int = 1) -> None:
        at = conninfo_to_dict(dsn)
        self._factory = PostgresFactory(
            Environment(
                "functions" if functions else "bench",
                {
                    "POSTGRES_DBNAME": at["dbname"],
                    "POSTGRES_HOST": at["host"],
                    "POSTGRES_PORT": at.get("port", "5432"),
                    "POSTGRES_USER": at["user"],
                    "POSTGRES_PASSWORD": at.get("password", "none"),
                    "POSTGRES_POOL_SIZE": str(connections),
                    "POSTGRES_ENABLE_DB_FUNCTIONS": "yes" if functions else "no",
                },
            )
        )
        self.recorder = self._factory.application_recorder()
        self._number = 0

    def appender(self, count: int = 1) -> Callable[[], object]:
        """Appends to a stream of its own."""
        stream, number = uuid4(), 0

        def append() -> None:
            nonlocal number
            number += count
            self.recorder.insert_events(_stored(stream, number, count))

        return append

    def reader(self, count: int) -> Callable[[], object]:
        stream = uuid4()
        self.recorder.insert_events(_stored(stream, count, count))
        return lambda: [json.loads(event.state) for event in self.recorder.select_events(stream)]

    def close(self) -> None:
        self._factory.close()


def _stored(stream: UUID, last: int, count: int) -> list[StoredEvent]:
    return [
        StoredEvent(
            originator_id=stream,
            originator_version=number,
            topic=EVENT_TYPE,
            state=json.dumps(EVENT).encode(),
        )
        for number in range(last - count + 1, last + 1)
    ]


def _url(dsn: str, driver: str) -> str:
    at = conninfo_to_dict(dsn)
    password = f":{quote(at['password'])}" if "password" in at else ""
    host = quote(str(at["host"]), safe="")
    return f"{driver}://{at['user']}{password}@/{at['dbname']}?host={host}&port={at.get('port', '5432')}"


def openai_session(dsn: str, runner: asyncio.Runner) -> tuple[Callable[[], object], Callable[[], object]]:
    """openai-agents' SQLAlchemySession over asyncpg: append one item, and close."""
    session = SQLAlchemySession.from_url(uuid4().hex, url=_url(dsn, "postgresql+asyncpg"), create_tables=True)

    def append() -> None:
        runner.run(session.add_items([{"role": "user", "content": json.dumps(EVENT)}]))

    return append, lambda: runner.run(session._engine.dispose())


@contextmanager
def dbos_steps(dsn: str) -> Iterator[Callable[[float], float]]:
    """Steps a second of one DBOS workflow; a step's result is what it stores."""
    config: DBOSConfig = {
        "name": "continuity-bench",
        "system_database_url": _url(dsn, "postgresql+psycopg"),
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)

    @DBOS.step()
    def step() -> dict[str, Any]:
        return EVENT

    @DBOS.workflow()
    def workflow(seconds: float) -> float:
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            step()
            done += 1
        return done / (time.perf_counter() - start)

    DBOS.launch()
    try:
        yield workflow
    finally:
        DBOS.destroy(workflow_completion_timeout_sec=0)
