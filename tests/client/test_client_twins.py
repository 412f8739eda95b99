"""The blocking and the awaiting client are the same methods over the same rules."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from session_continuity import AsyncSessionContinuity, SessionContinuity
from session_continuity.domain import (
    activity,
    alerts,
    audit,
    automatic_checkpoints,
    checkpoints,
    command_log,
    comparison,
    event_store,
    family,
    forgetting,
    health,
    leases,
    legal_hold,
    notes,
    overview,
    process_sessions,
    search,
    service_passes,
    session_registry,
    stale_sweep,
    standup,
    storage,
    threads,
    timeline,
)

MODULES = (
    session_registry,
    command_log,
    event_store,
    checkpoints,
    timeline,
    threads,
    forgetting,
    notes,
    comparison,
    standup,
    family,
    health,
    leases,
    service_passes,
    stale_sweep,
    automatic_checkpoints,
    process_sessions,
    overview,
    activity,
    audit,
    legal_hold,
    alerts,
    storage,
    search,
)
LIFE = {"run", "close"}
ONLY_AWAITED = {"append_prepared", "subscribe", "lead"}


def public(client: type) -> dict[str, Any]:
    return {name: member for name, member in vars(client).items() if not name.startswith("_") and callable(member)}


def rule_of(name: str) -> Any:
    found = [
        getattr(module, name)
        for module in MODULES
        if getattr(getattr(module, name, None), "__module__", "") == module.__name__
    ]
    return found[0] if found else None


OPERATIONS = sorted(name for name in public(SessionContinuity) if name not in LIFE)


def test_both_clients_have_the_same_methods_but_for_the_documented_ones() -> None:
    blocking, awaiting = set(public(SessionContinuity)), set(public(AsyncSessionContinuity))
    assert blocking <= awaiting
    assert awaiting - blocking <= ONLY_AWAITED
    assert len(OPERATIONS) >= 25


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_method_is_its_domain_function(name: str) -> None:
    rule, blocking, awaiting = (
        rule_of(name),
        getattr(SessionContinuity, name),
        getattr(AsyncSessionContinuity, name),
    )
    assert rule is not None, f"no rule of the domain is called {name}"
    signature = inspect.signature(rule)
    assert signature == inspect.signature(blocking.__wrapped__) == inspect.signature(awaiting.__wrapped__)
    assert blocking.__doc__ == awaiting.__doc__ == rule.__doc__
    assert rule.__doc__
    assert inspect.iscoroutinefunction(awaiting)
    assert not inspect.iscoroutinefunction(blocking)


def test_both_clients_give_the_same_answers(client: SessionContinuity, database: str) -> None:
    session = client.register_session("demo").instance_id
    client.append_event(session, "note_recorded", {"text": "one"}, operation="op")
    client.take_checkpoint(session, operation="checkpoint")
    client.append_event(session, "note_recorded", {"text": "two"})

    async def main() -> None:
        async with AsyncSessionContinuity(dsn=database) as awaiting:
            assert await awaiting.get_session(session) == client.get_session(session)
            assert await awaiting.read_events(session) == client.read_events(session)
            assert await awaiting.recover_state(session) == client.recover_state(session)
            assert await awaiting.replay_events(session) == client.replay_events(session)
            assert await awaiting.get_timeline(session) == client.get_timeline(session)
            assert await awaiting.list_checkpoints(session) == client.list_checkpoints(session)
            assert await awaiting.preview_continuation(session) == client.preview_continuation(session)
            again = await awaiting.append_event(session, "note_recorded", {"text": "one"}, operation="op")
            assert again.sequence_nums == (2,)
            continued = await awaiting.resume_session(session, operation="resume")
            assert client.resume_session(session, operation="resume").successor == continued.successor

    asyncio.run(main())
