"""Appending: one caller, many callers, callers of one session, and many events in a call.

The goals are against plain psycopg on the report's schema, whose caller numbers the events; the rows against plain
psycopg on ours, with fewer indexes and ordered keys, show what the store's own rules cost.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from harness import Bench, in_tasks, in_threads, repeat
from peers import Eventsourcing, dbos_steps, openai_session
from session_continuity import AsyncSessionContinuity, NewEvent, SessionContinuity
from workload import EVENT, EVENT_TYPE, Plain, PlainOnReport, many, register

CALLERS = 16


def run(bench: Bench) -> None:
    with (
        bench.server.database("append", "library") as dsn,
        bench.server.database("report", "report") as report,
        bench.server.database("peers") as peers,
    ):
        one_caller(bench, dsn, report, peers)
        many_sessions(bench, dsn, report, peers)
        one_session(bench, dsn)
        many_events(bench, dsn, report, peers)


def one_caller(bench: Bench, dsn: str, report: str, peers: str) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(SessionContinuity(dsn=dsn))
        ours, theirs = register(client, 2)
        plain = Plain(dsn, theirs)
        stack.callback(plain.close)
        on_report = PlainOnReport(report, "bench-PS-000000")
        stack.callback(on_report.close)
        recorder, functions = Eventsourcing(peers), Eventsourcing(peers, functions=True)
        stack.callback(recorder.close)
        stack.callback(functions.close)
        runner = stack.enter_context(asyncio.Runner())
        openai, close = openai_session(peers, runner)
        stack.callback(close)
        steps = stack.enter_context(dbos_steps(peers))
        figures = bench.measure(
            {
                "product": repeat(lambda: client.append_event(ours, EVENT_TYPE, EVENT)),
                "plain INSERT": repeat(plain.append),
                "plain INSERT, store gives the number": repeat(plain.append_numbered),
                "plain INSERT, report's schema": repeat(on_report.append),
                "eventsourcing": repeat(recorder.appender()),
                "eventsourcing, database functions": repeat(functions.appender()),
                "openai-agents": repeat(openai),
                "dbos step": steps,
            }
        )
        what = "append one, one caller"
        bench.compare(what, figures, "product", "plain INSERT, report's schema", at_least=0.90)
        bench.compare(what, figures, "product", "plain INSERT")
        bench.compare(what, figures, "product", "plain INSERT, store gives the number")
        bench.compare(what, figures, "product", "eventsourcing", at_least=2)
        bench.compare(what, figures, "product", "eventsourcing, database functions")
        bench.compare(what, figures, "product", "openai-agents", at_least=4.5)
        bench.compare(what, figures, "product", "dbos step", at_least=6)


def many_sessions(bench: Bench, dsn: str, report: str, peers: str) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(SessionContinuity(dsn=dsn, connections=CALLERS))
        sessions, theirs, awaited = (register(client, CALLERS) for _ in range(3))
        plain = [Plain(dsn, session) for session in theirs]
        on_report = [PlainOnReport(report, f"bench-PS-a{number:05x}") for number in range(CALLERS)]
        for one in (*plain, *on_report):
            stack.callback(one.close)
        recorder = Eventsourcing(peers, connections=CALLERS)
        functions = Eventsourcing(peers, functions=True, connections=CALLERS)
        stack.callback(recorder.close)
        stack.callback(functions.close)
        runner = stack.enter_context(asyncio.Runner())
        awaiting = AsyncSessionContinuity(dsn=dsn)
        stack.callback(lambda: runner.run(awaiting.close()))
        figures = bench.measure(
            {
                "product": in_threads(
                    [
                        lambda session=session: client.append_event(session, EVENT_TYPE, EVENT)
                        for session in sessions
                    ]
                ),
                "product, async": in_tasks(
                    runner,
                    [
                        lambda session=session: awaiting.append_event(session, EVENT_TYPE, EVENT)
                        for session in awaited
                    ],
                ),
                "plain INSERT": in_threads([one.append for one in plain]),
                "plain INSERT, report's schema": in_threads([one.append for one in on_report]),
                "eventsourcing": in_threads([recorder.appender() for _ in range(CALLERS)]),
                "eventsourcing, database functions": in_threads([functions.appender() for _ in range(CALLERS)]),
            }
        )
        for subject, kind in (("product", "threads"), ("product, async", "tasks")):
            what = f"16 callers on 16 sessions, {kind}"
            bench.compare(what, figures, subject, "plain INSERT, report's schema", at_least=0.80)
            bench.compare(what, figures, subject, "plain INSERT")
            bench.compare(what, figures, subject, "eventsourcing", at_least=5)
            bench.compare(what, figures, subject, "eventsourcing, database functions", at_least=1.8)


def one_session(bench: Bench, dsn: str) -> None:
    """Callers of one session inside one process, whose appends the async client merges."""
    with ExitStack() as stack:
        client = stack.enter_context(SessionContinuity(dsn=dsn))
        hot, shared = register(client, 2)
        plain = [Plain(dsn, hot) for _ in range(CALLERS)]
        for one in plain:
            stack.callback(one.close)
        runner = stack.enter_context(asyncio.Runner())
        awaiting = AsyncSessionContinuity(dsn=dsn)
        stack.callback(lambda: runner.run(awaiting.close()))
        baseline = "one statement, 16 connections"
        goals = {1: 0.75, 16: 5, 64: 10}

        def append():
            return awaiting.append_event(shared, EVENT_TYPE, EVENT)

        figures = bench.measure(
            {baseline: in_threads([one.append_numbered for one in plain])}
            | {str(tasks): in_tasks(runner, [append] * tasks) for tasks in goals}
        )
        for tasks, goal in goals.items():
            bench.compare(f"one session, {tasks} tasks", figures, str(tasks), baseline, at_least=goal)


def many_events(bench: Bench, dsn: str, report: str, peers: str) -> None:
    for count in (100, 1_000):
        with ExitStack() as stack:
            client = stack.enter_context(SessionContinuity(dsn=dsn))
            ours, theirs = register(client, 2)
            plain, on_report = Plain(dsn, theirs), PlainOnReport(report, f"bench-PS-b{count:05x}")
            stack.callback(plain.close)
            stack.callback(on_report.close)
            recorder, functions = Eventsourcing(peers), Eventsourcing(peers, functions=True)
            stack.callback(recorder.close)
            stack.callback(functions.close)

            def append(number: int, client: SessionContinuity = client, session: str = ours) -> None:
                client.append_events(
                    session, [NewEvent(event_type=EVENT_TYPE, event_data=EVENT) for _ in range(number)]
                )

            figures = bench.measure(
                {
                    "product": repeat(many(append, count), count),
                    "plain unnest": repeat(many(plain.append_many, count), count),
                    "COPY": repeat(many(plain.copy_many, count), count),
                    "plain unnest, report's schema": repeat(many(on_report.append_many, count), count),
                    "COPY, report's schema": repeat(many(on_report.copy_many, count), count),
                    "eventsourcing": repeat(recorder.appender(count), count),
                    "eventsourcing, database functions": repeat(functions.appender(count), count),
                }
            )
            what = f"append {count:,} in a call"
            on_one, of_thousand = (0.90, None) if count == 100 else (None, 0.85)
            bench.compare(what, figures, "product", "plain unnest, report's schema", at_least=on_one)
            bench.compare(what, figures, "product", "plain unnest")
            bench.compare(what, figures, "product", "eventsourcing", at_least=1.25)
            bench.compare(what, figures, "product", "eventsourcing, database functions")
            bench.compare(what, figures, "product", "COPY, report's schema", at_least=of_thousand)
            bench.compare(what, figures, "product", "COPY")
