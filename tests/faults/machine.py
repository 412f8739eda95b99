"""A model of the records beside the real ones: every step is done on both, and they must agree.

The model holds what was acknowledged. Its own fold over its own events is what every state is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from psycopg.types.json import Jsonb
from tests.domain.driving import event

from session_continuity import (
    Appended,
    Conflict,
    Fenced,
    NewEvent,
    OperationConflict,
    SequenceConflict,
    SessionContinuity,
)
from session_continuity.domain.checkpoints import Checkpoint
from session_continuity.domain.fold import fold
from session_continuity.domain.identity import new_operation_id
from session_continuity.domain.work_state import canonical, empty_state, state_hash

Body = tuple[str, Any]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
words = st.sampled_from(["a", "b", "c"])


def _of(kinds: list[str], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Body]:
    return st.tuples(st.sampled_from(kinds), st.fixed_dictionaries({}, optional=fields))


bodies: st.SearchStrategy[Body] = st.one_of(
    _of(["prompt_submitted", "note_recorded", "feature_requested"], text=texts, kind=words),
    _of(["epic_planned", "epic_started", "epic_completed", "epic_failed"], epic_id=words, name=texts),
    _of(["test_started", "test_passed", "test_failed"], command=words, summary=texts, failing=st.lists(words)),
    _of(["validation_passed", "validation_failed"], command=words),
    _of(["plan_updated"], items=st.lists(st.fixed_dictionaries({"text": texts, "status": words}), max_size=3)),
    _of(["files_changed"], files=st.lists(words, max_size=3)),
    _of(["commit_created"], sha=words, message=texts, branch=words),
    _of(["pr_created", "pr_merged"], number=st.integers(1, 3), title=texts),
    _of(["deployment_started", "deployment_completed", "deployment_failed"], target=words),
    _of(["context_window_updated"], percent=st.integers(0, 100), used_tokens=st.integers(0, 10**6)),
    _of(["context_compacted"], trigger=words, summary=texts),
    _of(["task_spawned"], task_id=words, description=texts),
    _of(["instance_heartbeat", "checkpoint_created"], anything=texts),
)
some_bodies = st.lists(bodies, min_size=1, max_size=1) | st.lists(bodies, min_size=2, max_size=4)
# The library reads a larger integer of plain SQL as the nearest double (docs/guarantees.md).
odd_data = st.none() | st.integers(-(2**63), 2**64 - 1) | texts | st.lists(texts, max_size=2)
picks = st.integers(0, 10**6)


@dataclass
class Stream:
    """What is known of one session."""

    events: list[Body] = field(default_factory=list)
    parent: tuple[str, int] | None = None
    checkpoints: list[tuple[UUID, int]] = field(default_factory=list)
    closed: bool = False
    fenced: bool = False


@dataclass
class Done:
    """An acknowledged operation: calling it again must give `answer` again."""

    again: Callable[[], Any]
    answer: Any
    otherwise: list[Callable[[], Any]] = field(default_factory=list)


class Continuity(RuleBasedStateMachine):
    """Appends, retries, checkpoints, resumes, forks and rewinds, mixed with plain SQL."""

    client: ClassVar[SessionContinuity]
    connection: ClassVar[psycopg.Connection[Any]]

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[str, Stream] = {}
        self.done: list[Done] = []
        self.touched: set[str] = set()

    @initialize()
    def register(self) -> None:
        operation = new_operation_id()
        session = self.client.register_session("demo", operation=operation)
        self.streams[session.instance_id] = Stream(
            [("instance_registered", {"project": "demo", "instance_type": "PS"})]
        )
        self.touched.add(session.instance_id)

    def pick(self, number: int) -> tuple[str, Stream]:
        """Any session; the latest ones, which still own their threads, most often."""
        items = list(self.streams.items())
        instance_id, stream = items[-1 - (number % len(items) if number % 3 == 0 else number % min(2, len(items)))]
        self.touched.add(instance_id)
        return instance_id, stream

    @rule(
        pick=picks,
        added=some_bodies,
        expect=st.sampled_from([None, None, "right", "wrong"]),
    )
    def append(self, pick: int, added: list[Body], expect: str | None) -> None:
        instance_id, stream = self.pick(pick)
        operation, last = new_operation_id(), len(stream.events)
        expected = {None: None, "right": last, "wrong": last + 1 + pick % 3}[expect]
        again = self.appending(instance_id, added, operation, expected)
        if stream.fenced or expect == "wrong":
            with pytest.raises(Fenced if stream.fenced else SequenceConflict):
                again()
            return
        answer = Appended(instance_id, tuple(range(last + 1, last + 1 + len(added))), operation)
        assert again() == answer
        stream.events += added
        kind, data = added[-1]
        others = [[*added[:-1], (kind, data | {"changed": 1})], [*added, added[0]], added[:-1]]
        self.done.append(
            Done(again, answer, [self.appending(instance_id, other, operation, None) for other in others if other])
        )

    def appending(
        self, instance_id: str, added: list[Body], operation: UUID, expected: int | None
    ) -> Callable[[], Appended]:
        if len(added) == 1 and operation.int % 4:
            kind, data = added[0]
            return lambda: self.client.append_event(
                instance_id, kind, data, operation=operation, expected_sequence=expected
            )
        events = [NewEvent(event_type=kind, event_data=data) for kind, data in added]
        return lambda: self.client.append_events(
            instance_id, events, operation=operation, expected_sequence=expected
        )

    @precondition(lambda self: self.done)
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        done = self.done[pick % len(self.done)]
        assert done.again() == done.answer

    @precondition(lambda self: any(done.otherwise for done in self.done))
    @rule(pick=picks)
    def retry_with_another_body(self, pick: int) -> None:
        others = [other for done in self.done for other in done.otherwise]
        with pytest.raises(OperationConflict):
            others[pick % len(others)]()

    @rule(pick=picks)
    def checkpoint(self, pick: int) -> None:
        instance_id, stream = self.pick(pick)
        operation = new_operation_id()

        def again() -> tuple[UUID, int, bytes, bytes | None]:
            taken = self.client.take_checkpoint(instance_id, operation=operation)
            return taken.checkpoint_id, taken.sequence_num, canonical(taken.work_state), taken.state_hash

        if stream.fenced:
            with pytest.raises(Fenced):
                again()
            return
        answer = again()
        stream.events.append(
            ("checkpoint_created", {"checkpoint_id": str(operation), "checkpoint_type": "manual"})
        )
        assert answer[:2] == (operation, len(stream.events))
        stream.checkpoints.append((operation, len(stream.events)))
        self.done.append(Done(again, answer))

    @rule(pick=picks, how=st.sampled_from(["resume", "rewind", "fork", "fork_here"]))
    def go_on(self, pick: int, how: str) -> None:
        instance_id, stream = self.pick(pick)
        operation, last = new_operation_id(), len(stream.events)
        at = last if how in ("resume", "fork_here") else 1 + pick % last
        call: dict[str, Callable[[], Any]] = {
            "resume": lambda: self.client.resume_session(instance_id, operation=operation),
            "rewind": lambda: self.client.rewind_session(instance_id, at, operation=operation),
            "fork": lambda: self.client.fork_session(instance_id, sequence_num=at, operation=operation),
            "fork_here": lambda: self.client.fork_session(instance_id, operation=operation),
        }
        if stream.fenced and not how.startswith("fork"):
            with pytest.raises(Conflict) as refused:
                call[how]()
            assert refused.value.stable_code == "superseded"
            return
        successor = call[how]().successor
        events = self.client.read_events(successor.instance_id)
        kinds = [one.event_type for one in events]
        assert kinds in (
            ["instance_resumed", "checkpoint_created"],
            ["instance_resumed", "checkpoint_loaded", "checkpoint_created"],
        )
        went_on = Stream([(one.event_type, one.event_data) for one in events], parent=(instance_id, at))
        went_on.checkpoints.append((UUID(events[-1].event_data["checkpoint_id"]), len(events)))
        self.streams[successor.instance_id] = went_on
        self.touched.add(successor.instance_id)
        stream.fenced = stream.fenced or not how.startswith("fork")
        self.done.append(Done(lambda: call[how]().successor.instance_id, successor.instance_id))

    @rule(pick=picks, body=bodies, odd=odd_data, numbered=st.booleans())
    def plain_insert(self, pick: int, body: Body, odd: Any, numbered: bool) -> None:
        instance_id, stream = self.pick(pick)
        kind, data = (body[0], odd) if pick % 5 == 0 else body
        number = len(stream.events) + 1 if numbered else None
        try:
            self.connection.execute(
                "INSERT INTO event_store (instance_id, event_type, sequence_num, event_data)"
                " VALUES (%s, %s, %s, %s)",
                (instance_id, kind, number, Jsonb(data)),
            )
        except psycopg.errors.RaiseException:
            assert stream.fenced
        else:
            assert not stream.fenced
            stream.events.append((kind, data))

    @rule(pick=picks, many=st.booleans())
    def heartbeat(self, pick: int, many: bool) -> None:
        instance_id, stream = self.pick(pick)
        if many:
            alive = {name for name, one in self.streams.items() if not one.fenced and not one.closed}
            assert set(self.client.send_heartbeats(list(self.streams))) == alive
        elif stream.fenced or stream.closed:
            with pytest.raises(Fenced if stream.fenced else Conflict):
                self.client.send_heartbeat(instance_id)
        else:
            assert self.client.send_heartbeat(instance_id).status == "active"

    @rule(pick=picks)
    def close(self, pick: int) -> None:
        if pick % 4:
            return
        instance_id, stream = self.pick(pick)
        if stream.fenced:
            with pytest.raises(Fenced):
                self.client.close_session(instance_id)
            return
        assert self.client.close_session(instance_id).status == "closed"
        if not stream.closed:
            stream.events.append(("instance_closed", {"reason": "closed"}))
            stream.closed = True

    @rule(pick=picks, back=picks)
    def look_back(self, pick: int, back: int) -> None:
        instance_id, stream = self.pick(pick)
        until = 1 + back % len(stream.events)
        wanted = self.state(instance_id, until)
        assert canonical(self.client.recover_state(instance_id, until=until).work_state) == wanted
        assert canonical(self.client.replay_events(instance_id, until=until).work_state) == wanted

    @invariant()
    def what_was_touched_agrees_with_the_model(self) -> None:
        while self.touched:
            self.agrees(self.touched.pop())

    def agrees(self, instance_id: str) -> None:
        stream = self.streams[instance_id]
        events = self.client.read_events(instance_id)
        assert [one.sequence_num for one in events] == list(range(1, len(stream.events) + 1))
        assert [(one.event_type, one.event_data) for one in events] == stream.events
        session = self.client.get_session(instance_id)
        assert session.last_sequence_num == len(events)
        assert (session.superseded_by is not None) == stream.fenced
        whole = self.state(instance_id, len(events))
        recovery = self.client.recover_state(instance_id)
        assert canonical(recovery.work_state) == whole
        assert recovery.distrusted == ()
        assert canonical(self.client.replay_events(instance_id).work_state) == whole
        stored = {one.checkpoint_id: one for one in self.client.list_checkpoints(instance_id)}
        assert {one.checkpoint_id: one.sequence_num for one in stored.values()} == dict(stream.checkpoints)
        for checkpoint_id, sequence_num in stream.checkpoints:
            self.rests(stored[checkpoint_id], instance_id, sequence_num, whole)

    def rests(self, checkpoint: Checkpoint, instance_id: str, sequence_num: int, whole: bytes) -> None:
        """state(checkpoint + the events after it) = state(all events), and its hash is of its own bytes."""
        state: Any = checkpoint.work_state
        encoded = canonical(state)
        assert encoded == self.state(instance_id, sequence_num)
        assert checkpoint.state_hash == state_hash(encoded)
        assert canonical(fold(state, self.client.read_events(instance_id, after=sequence_num))) == whole

    def state(self, instance_id: str, until: int) -> bytes:
        """The model's own fold, over the whole lineage."""
        lineage: list[tuple[str, int]] = [(instance_id, until)]
        while (parent := self.streams[lineage[-1][0]].parent) is not None:
            lineage.append(parent)
        state = empty_state()
        for name, last in reversed(lineage):
            fold(state, [event(n, *body, name) for n, body in enumerate(self.streams[name].events[:last], 1)])
        return canonical(state)

    def teardown(self) -> None:
        self.connection.execute("UPDATE supervisor_sessions SET status = 'closed' WHERE status <> 'closed'")
