"""AsyncSessionContinuity: the same methods, awaited; appends that are in flight together share one flush."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

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
from session_continuity.domain.event_store import Appended, PreparedAppend
from session_continuity.domain.operation import Operation
from session_continuity.postgres.database import AsyncDatabase
from session_continuity.postgres.failures import deadline_exceeded
from session_continuity.server import choose_server, limits
from session_continuity.settings import Settings, load_settings

P = ParamSpec("P")
T = TypeVar("T")

MERGED_EVENTS = 1_000
"""Most events in one merged append."""


def _awaiting(
    operation: Callable[P, Operation[T]],
) -> Callable[Concatenate[AsyncSessionContinuity, P], Coroutine[Any, Any, T]]:
    @wraps(operation)
    async def method(self: AsyncSessionContinuity, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(operation(*args, **kwargs))

    return method


def _merging(
    operation: Callable[P, Operation[Appended]], prepare: Callable[P, PreparedAppend]
) -> Callable[Concatenate[AsyncSessionContinuity, P], Coroutine[Any, Any, Appended]]:
    @wraps(operation)
    async def method(self: AsyncSessionContinuity, *args: P.args, **kwargs: P.kwargs) -> Appended:
        return await self.append_prepared(prepare(*args, **kwargs))

    return method


class AsyncSessionContinuity:
    """The records and the recovery, for programs that await. Belongs to one event loop.

    As SessionContinuity, but appends awaited at the same time are merged into one statement: each is
    acknowledged after the commit, and many callers cost one flush to disk.
    """

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        self.settings = settings or load_settings(**options)
        self._database = AsyncDatabase(choose_server(self.settings), limits(self.settings))
        self._waiting: list[tuple[PreparedAppend, asyncio.Future[Appended]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation of the domain."""
        return await self._database.run(operation)

    async def append_prepared(self, append: PreparedAppend) -> Appended:
        """Append, together with what other tasks append at this moment where that is possible."""
        if not event_store.can_merge(append):
            return await self.run(event_store.append_prepared(append))
        answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, answer))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        try:
            async with asyncio.timeout(self.settings.deadline_seconds):
                return await answer
        except TimeoutError:
            raise deadline_exceeded(self.settings.deadline_seconds) from None

    async def close(self) -> None:
        """Finish the appends in flight and close the connections."""
        if self._flushing is not None:
            await self._flushing
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                appends = [append for append, _ in batch]
                try:
                    if len(appends) == 1:
                        answers = [await self.run(event_store.append_prepared(appends[0]))]
                    else:
                        answers = await self.run(event_store.append_together(appends))
                except Exception as error:  # whatever it was, nobody may be left waiting
                    answers = [error] * len(batch)
                for (_, waiting), answer in zip(batch, answers, strict=True):
                    if waiting.done():
                        continue  # its caller was cancelled
                    if isinstance(answer, Exception):
                        waiting.set_exception(answer)
                    else:
                        waiting.set_result(answer)
        finally:
            self._flushing = None
            for _, waiting in self._waiting:  # only when the flush itself was cancelled
                waiting.cancel()
            self._waiting.clear()

    def _next_batch(self) -> list[tuple[PreparedAppend, asyncio.Future[Appended]]]:
        self._waiting = [one for one in self._waiting if not one[1].done()]  # cancelled, or out of time
        events = taken = 0
        for append, _ in self._waiting:
            events += len(append.event_ids)
            if taken and events > MERGED_EVENTS:
                break
            taken += 1
        batch, self._waiting[:taken] = self._waiting[:taken], []
        return batch

    register_session = _awaiting(session_registry.register_session)
    send_heartbeat = _awaiting(session_registry.send_heartbeat)
    send_heartbeats = _awaiting(session_registry.send_heartbeats)
    close_session = _awaiting(session_registry.close_session)
    settle_imported = _awaiting(session_registry.settle_imported)
    record_context_percent = _awaiting(session_registry.record_context_percent)
    get_session = _awaiting(session_registry.get_session)
    find_sessions = _awaiting(session_registry.find_sessions)
    find_process_sessions = _awaiting(process_sessions.find_process_sessions)

    record_command = _awaiting(command_log.record_command)
    record_commands = _awaiting(command_log.record_commands)
    record_outcome = _awaiting(command_log.record_outcome)
    get_command = _awaiting(command_log.get_command)
    search_commands = _awaiting(command_log.search_commands)

    append_event = _merging(event_store.append_event, event_store.prepare_event)
    append_events = _merging(event_store.append_events, event_store.prepare_append)
    read_events = _awaiting(event_store.read_events)
    find_events = _awaiting(event_store.find_events)
    record_note = _merging(notes.record_note, notes.prepare_note)

    take_checkpoint = _awaiting(checkpoints.take_checkpoint)
    get_checkpoint = _awaiting(checkpoints.get_checkpoint)
    latest_checkpoint = _awaiting(checkpoints.latest_checkpoint)
    list_checkpoints = _awaiting(checkpoints.list_checkpoints)
    recover_state = _awaiting(checkpoints.recover_state)
    replay_events = _awaiting(checkpoints.replay_events)
    compare_checkpoints = _awaiting(comparison.compare_checkpoints)

    get_timeline = _awaiting(timeline.get_timeline)
    find_timeline_entry = _awaiting(timeline.find_timeline_entry)
    gather_standup = _awaiting(standup.gather_standup)
    get_family = _awaiting(family.get_family)
    get_system_health = _awaiting(health.get_system_health)
    get_fleet_metrics = _awaiting(health.get_fleet_metrics)
    count_events_by_minute = _awaiting(health.count_events_by_minute)
    get_activity = _awaiting(activity.get_activity)
    get_overview = _awaiting(overview.get_overview)
    list_projects = _awaiting(overview.list_projects)

    find_resumable = _awaiting(threads.find_resumable)
    preview_continuation = _awaiting(threads.preview_continuation)
    resume_session = _awaiting(threads.resume_session)
    rewind_session = _awaiting(threads.rewind_session)
    fork_session = _awaiting(threads.fork_session)

    preview_forgetting = _awaiting(forgetting.preview_forgetting)
    forget_session = _awaiting(forgetting.forget_session)

    search_records = _awaiting(search.search_records)
    index_records = _awaiting(search.index_records)

    list_alerts = _awaiting(alerts.list_alerts)
    acknowledge_alert = _awaiting(alerts.acknowledge_alert)
    evaluate_rule = _awaiting(alerts.evaluate_rule)
    settle_machine_alert = _awaiting(alerts.settle_machine_alert)
    claim_delivery = _awaiting(alerts.claim_delivery)
    settle_delivery = _awaiting(alerts.settle_delivery)
    drop_old_alerts = _awaiting(alerts.drop_old_alerts)
    get_storage = _awaiting(storage.get_storage)
    sample_storage = _awaiting(storage.sample_storage)

    hold_session = _awaiting(legal_hold.hold_session)
    release_session = _awaiting(legal_hold.release_session)
    record_action = _awaiting(audit.record_action)
    list_actions = _awaiting(audit.list_actions)

    find_silent = _awaiting(stale_sweep.find_silent)
    count_silent = _awaiting(stale_sweep.count_silent)
    mark_silent = _awaiting(stale_sweep.mark_silent)
    mark_gone = _awaiting(stale_sweep.mark_gone)
    mark_stale = _awaiting(stale_sweep.mark_stale)
    find_processes = _awaiting(stale_sweep.find_processes)
    find_stale_unsaved = _awaiting(stale_sweep.find_stale_unsaved)
    bring_back_from_future = _awaiting(stale_sweep.bring_back_from_future)
    find_checkpoints_due = _awaiting(automatic_checkpoints.find_checkpoints_due)
    take_due_checkpoint = _awaiting(automatic_checkpoints.take_due_checkpoint)

    hold_leases = _awaiting(leases.hold_leases)
    release_leases = _awaiting(leases.release_leases)
    record_pass = _awaiting(service_passes.record_pass)
    list_services = _awaiting(service_passes.list_services)
