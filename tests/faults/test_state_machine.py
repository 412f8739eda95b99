"""R12: random histories on the store and on a model of it, and bugs planted to prove that it would see them.

CONTINUITY_EXAMPLES histories of CONTINUITY_STEPS steps; CONTINUITY_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.faults.machine import Continuity

from session_continuity import SessionContinuity, SessionContinuityError
from session_continuity.domain import checkpoints, event_store, threads
from session_continuity.domain.event_store import Event
from session_continuity.domain.fold import fold
from session_continuity.domain.identity import new_operation_id
from session_continuity.domain.work_state import WorkState
from session_continuity.postgres.statements import statements

SEED = int(os.environ.get("CONTINUITY_SEED", random.randrange(2**32)))
STEPS = int(os.environ.get("CONTINUITY_STEPS", 30))
SLOW_OR_LARGE = list(HealthCheck)
DidNotRaise = pytest.fail.Exception
one_server = pytest.mark.parametrize("server", ["embedded"], indirect=True)


@pytest.fixture
def machine(client: SessionContinuity, database: str) -> Any:
    """The machine on a database of its own; it counts its steps."""
    with psycopg.connect(database, autocommit=True) as connection:

        class Bound(Continuity):
            steps = 0

            def agrees(self, instance_id: str) -> None:
                Bound.steps += 1
                super().agrees(instance_id)

        Bound.client, Bound.connection = client, connection
        yield Bound


def run(machine: Any, examples: int, **changed: Any) -> None:
    options: dict[str, Any] = {"phases": (Phase.generate, Phase.shrink)} | changed
    run_state_machine_as_test(
        seed(SEED)(lambda: machine()),
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=SLOW_OR_LARGE,
            **options,
        ),
    )


def test_random_histories_agree_with_the_model(machine: Any) -> None:
    run(machine, int(os.environ.get("CONTINUITY_EXAMPLES", 25)))


@one_server
@pytest.mark.faults
@pytest.mark.timeout(3_600)
def test_a_thousand_random_histories_agree_with_the_model(machine: Any) -> None:
    examples = int(os.environ.get("CONTINUITY_EXAMPLES", 1_000))
    run(machine, examples)
    print(
        f"\nR12: {examples} histories of up to {STEPS} steps, {machine.steps} comparisons, 0 differences,"
        f" seed {SEED}"
    )


Plant = Callable[[pytest.MonkeyPatch, psycopg.Connection[Any]], None]


def in_statement(name: str, right: str, wrong: str, *, fence_trigger: bool = True) -> Plant:
    def plant(monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]) -> None:
        sql = statements()[name]
        assert right in sql, f"{name} no longer holds {right!r}"
        monkeypatch.setitem(statements(), name, sql.replace(right, wrong))
        if not fence_trigger:
            connection.execute("ALTER TABLE supervisor_sessions DISABLE TRIGGER refuse_fenced_heartbeat")

    return plant


def forgetful_fold(monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]) -> None:
    def forgets_one(state: WorkState, events: Any) -> WorkState:
        seen: list[Event] = list(events)
        return fold(state, seen[:1] + seen[2:] if len(seen) > 2 else seen)

    monkeypatch.setattr(checkpoints, "fold", forgets_one)


def forgotten_operation(monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]) -> None:
    monkeypatch.setattr(event_store, "operation_id", lambda instance_id, given: new_operation_id())


def blind_retry(monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]) -> None:
    def is_longer(append: Any) -> Any:
        return False
        yield

    monkeypatch.setattr(event_store, "_is_longer", is_longer)


def state_of_the_wrong_event(monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]) -> None:
    right = threads.recover_steps

    def off_by_one(instance_id: str, until: int | None = None, as_of: Any = None) -> Any:
        return (yield from right(instance_id, until - 1 if until and until > 1 else until, as_of))

    monkeypatch.setattr(threads, "recover_steps", off_by_one)


BUGS: dict[str, Plant] = {
    "no fence on one event": in_statement("append_event", "AND superseded_by IS NULL", "", fence_trigger=False),
    "no fence on many events": in_statement("append_events", "AND superseded_by IS NULL", "", fence_trigger=False),
    "no fence on checkpoints": in_statement(
        "take_checkpoint", "AND superseded_by IS NULL", "", fence_trigger=False
    ),
    "heartbeats of closed sessions": in_statement(
        "send_heartbeats", "AND s.superseded_by IS NULL AND s.status <> 'closed'", "", fence_trigger=False
    ),
    "resume raises no fence": in_statement("supersede_session", "superseded_by = %(successor_id)s,", ""),
    "expected number ignored": in_statement(
        "append_event", "AND last_sequence_num = coalesce(%(expected)s::bigint, last_sequence_num)", ""
    ),
    "one number too few in a batch": in_statement(
        "append_events", "last_sequence_num + %(count)s", "last_sequence_num + %(count)s - 1"
    ),
    "batch numbered backwards": in_statement(
        "append_events", "head.base + e.part", "head.base + %(count)s + 1 - e.part"
    ),
    "checkpoint under the wrong number": in_statement(
        "take_checkpoint",
        "%(checkpoint_type)s, head.last_sequence_num",
        "%(checkpoint_type)s, head.last_sequence_num - 1",
    ),
    "retry compares no data": in_statement("compare_events", "AND e.event_data = g.event_data::jsonb", ""),
    "recovery skips an event": in_statement(
        "recover", "(SELECT base.sequence_num FROM base)", "(SELECT base.sequence_num + 1 FROM base)"
    ),
    "fold forgets one event": forgetful_fold,
    "operation id forgotten": forgotten_operation,
    "retry of a part is taken for the whole": blind_retry,
    "rewind to the wrong event": state_of_the_wrong_event,
}


@one_server
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(machine: Any, database: str, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    """Control: each of these would break a guarantee; random histories must notice."""
    with psycopg.connect(database, autocommit=True) as connection:
        BUGS[bug](monkeypatch, connection)
        with pytest.raises((AssertionError, DidNotRaise, SessionContinuityError)) as found:
            run(machine, 2_000, phases=(Phase.generate,))  # it stops at the first that is noticed
    print(f"\n{bug}: found after {machine.steps} comparisons by {type(found.value).__name__}")


@one_server
def test_the_trigger_fences_even_where_a_statement_would_not(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("append_event", "append_events", "take_checkpoint"):
        sql = statements()[name]
        monkeypatch.setitem(statements(), name, sql.replace("AND superseded_by IS NULL", ""))
    run(machine, 10, phases=(Phase.generate,))
