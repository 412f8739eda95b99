"""Appending: one caller, many callers, callers of one session, and many events in a call."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from harness import Bench, in_tasks, in_threads, repeat
from peers import Eventsourcing, dbos_steps, openai_session
from session_continuity import AsyncSessionContinuity, NewEvent, SessionContinuity
from workload import EVENT, EVENT_TYPE, Plain, many, register

CALLERS = 16


def run(bench: Bench) -> None:
    with bench.server.database("append", "library") as dsn, bench.server.database("peers") as peers:
        one_caller(bench, dsn, peers)
        many_sessions(bench, dsn, peers)
        one_session(bench, dsn)
        many_events(bench, dsn, peers)


def one_caller(bench: Bench, dsn: str, peers: str) -> None:
    with ExitStack() as stack, bench.server.database("report", "report") as report:
        client = stack.enter_context(SessionContinuity(dsn=dsn))
        ours, theirs = register(client, 2)
        plain = Plain(dsn, theirs)
        stack.callback(plain.close)
        on_report = _plain_on_report(report)
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
                "plain INSERT, report's schema": repeat(on_report.append_on_report),
                "eventsourcing": repeat(recorder.appender()),
                "eventsourcing, database functions": repeat(functions.appender()),
                "openai-agents": repeat(openai),
                "dbos step": steps,
            }
        )
        what = "append one, one caller"
        bench.compare(what, figures, "product", "plain INSERT", at_least=0.90)
        bench.compare(what, figures, "product", "plain INSERT, store gives the number")
        bench.compare(what, figures, "product", "plain INSERT, report's schema")
        bench.compare(what, figures, "product", "eventsourcing", at_least=2)
        bench.compare(what, figures, "product", "eventsourcing, database functions")
        bench.compare(what, figures, "product", "openai-agents", at_least=4.5)
        bench.compare(what, figures, "product", "dbos step", at_least=6)


def _plain_on_report(report: str) -> Plain:
    plain = Plain(report, "bench-PS-aaaaaa")
    plain._connection.execute(
        "INSERT INTO supervisor_sessions (instance_id, project, instance_type)"
        " VALUES ('bench-PS-aaaaaa', 'bench', 'PS')"
    )
    return plain


def many_sessions(bench: Bench, dsn: str, peers: str) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(SessionContinuity(dsn=dsn, connections=CALLERS))
        sessions, theirs, awaited = (register(client, CALLERS) for _ in range(3))
        plain = [Plain(dsn, session) for session in theirs]
        for one in plain:
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
                "eventsourcing": in_threads([recorder.appender() for _ in range(CALLERS)]),
                "eventsourcing, database functions": in_threads([functions.appender() for _ in range(CALLERS)]),
            }
        )
        for subject, kind in (("product", "threads"), ("product, async", "tasks")):
            what = f"16 callers on 16 sessions, {kind}"
            bench.compare(what, figures, subject, "plain INSERT", at_least=0.80)
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


def many_events(bench: Bench, dsn: str, peers: str) -> None:
    for count in (100, 1_000):
        with ExitStack() as stack:
            client = stack.enter_context(SessionContinuity(dsn=dsn))
            ours, theirs = register(client, 2)
            plain = Plain(dsn, theirs)
            stack.callback(plain.close)
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
                    "eventsourcing": repeat(recorder.appender(count), count),
                    "eventsourcing, database functions": repeat(functions.appender(count), count),
                }
            )
            what = f"append {count:,} in a call"
            bench.compare(what, figures, "product", "plain unnest", at_least=0.90 if count == 100 else None)
            bench.compare(what, figures, "product", "eventsourcing", at_least=1.25)
            bench.compare(what, figures, "product", "eventsourcing, database functions")
            bench.compare(what, figures, "product", "COPY", at_least=0.85 if count == 1_000 else None)
