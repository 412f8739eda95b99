"""SessionContinuity: every operation as one blocking method."""

from __future__ import annotations

from collections.abc import Callable
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
from session_continuity.domain.operation import Operation
from session_continuity.postgres.database import Database
from session_continuity.server import choose_server, limits
from session_continuity.settings import Settings, load_settings

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(operation: Callable[P, Operation[T]]) -> Callable[Concatenate[SessionContinuity, P], T]:
    @wraps(operation)
    def method(self: SessionContinuity, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(operation(*args, **kwargs))

    return method


class SessionContinuity:
    """The records and the recovery, for programs that block. Safe to share between threads.

    Takes the settings, or their values as options (`dsn=`, `home=`, `deadline_seconds=` ...). Nothing is opened
    before the first call. Every method raises Unavailable and DeadlineExceeded besides what it documents.
    """

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        self.settings = settings or load_settings(**options)
        self._database = Database(choose_server(self.settings), limits(self.settings))

    def run(self, operation: Operation[T]) -> T:
        """Run an operation of the domain."""
        return self._database.run(operation)

    def close(self) -> None:
        """Close the connections. The embedded server goes on running; `continuity db stop` stops it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    register_session = _blocking(session_registry.register_session)
    send_heartbeat = _blocking(session_registry.send_heartbeat)
    send_heartbeats = _blocking(session_registry.send_heartbeats)
    close_session = _blocking(session_registry.close_session)
    settle_imported = _blocking(session_registry.settle_imported)
    record_context_percent = _blocking(session_registry.record_context_percent)
    get_session = _blocking(session_registry.get_session)
    find_sessions = _blocking(session_registry.find_sessions)
    find_process_sessions = _blocking(process_sessions.find_process_sessions)

    record_command = _blocking(command_log.record_command)
    record_commands = _blocking(command_log.record_commands)
    record_outcome = _blocking(command_log.record_outcome)
    get_command = _blocking(command_log.get_command)
    search_commands = _blocking(command_log.search_commands)

    append_event = _blocking(event_store.append_event)
    append_events = _blocking(event_store.append_events)
    read_events = _blocking(event_store.read_events)
    find_events = _blocking(event_store.find_events)
    record_note = _blocking(notes.record_note)

    take_checkpoint = _blocking(checkpoints.take_checkpoint)
    get_checkpoint = _blocking(checkpoints.get_checkpoint)
    latest_checkpoint = _blocking(checkpoints.latest_checkpoint)
    list_checkpoints = _blocking(checkpoints.list_checkpoints)
    recover_state = _blocking(checkpoints.recover_state)
    replay_events = _blocking(checkpoints.replay_events)
    compare_checkpoints = _blocking(comparison.compare_checkpoints)

    get_timeline = _blocking(timeline.get_timeline)
    find_timeline_entry = _blocking(timeline.find_timeline_entry)
    gather_standup = _blocking(standup.gather_standup)
    get_family = _blocking(family.get_family)
    get_system_health = _blocking(health.get_system_health)
    get_fleet_metrics = _blocking(health.get_fleet_metrics)
    count_events_by_minute = _blocking(health.count_events_by_minute)
    get_activity = _blocking(activity.get_activity)
    get_overview = _blocking(overview.get_overview)
    list_projects = _blocking(overview.list_projects)

    find_resumable = _blocking(threads.find_resumable)
    preview_continuation = _blocking(threads.preview_continuation)
    resume_session = _blocking(threads.resume_session)
    rewind_session = _blocking(threads.rewind_session)
    fork_session = _blocking(threads.fork_session)

    preview_forgetting = _blocking(forgetting.preview_forgetting)
    forget_session = _blocking(forgetting.forget_session)

    search_records = _blocking(search.search_records)
    index_records = _blocking(search.index_records)

    list_alerts = _blocking(alerts.list_alerts)
    acknowledge_alert = _blocking(alerts.acknowledge_alert)
    evaluate_rule = _blocking(alerts.evaluate_rule)
    settle_machine_alert = _blocking(alerts.settle_machine_alert)
    claim_delivery = _blocking(alerts.claim_delivery)
    settle_delivery = _blocking(alerts.settle_delivery)
    drop_old_alerts = _blocking(alerts.drop_old_alerts)
    get_storage = _blocking(storage.get_storage)
    sample_storage = _blocking(storage.sample_storage)

    hold_session = _blocking(legal_hold.hold_session)
    release_session = _blocking(legal_hold.release_session)
    record_action = _blocking(audit.record_action)
    list_actions = _blocking(audit.list_actions)

    find_silent = _blocking(stale_sweep.find_silent)
    count_silent = _blocking(stale_sweep.count_silent)
    mark_silent = _blocking(stale_sweep.mark_silent)
    mark_gone = _blocking(stale_sweep.mark_gone)
    mark_stale = _blocking(stale_sweep.mark_stale)
    find_processes = _blocking(stale_sweep.find_processes)
    find_stale_unsaved = _blocking(stale_sweep.find_stale_unsaved)
    bring_back_from_future = _blocking(stale_sweep.bring_back_from_future)
    find_checkpoints_due = _blocking(automatic_checkpoints.find_checkpoints_due)
    take_due_checkpoint = _blocking(automatic_checkpoints.take_due_checkpoint)

    hold_leases = _blocking(leases.hold_leases)
    release_leases = _blocking(leases.release_leases)
    record_pass = _blocking(service_passes.record_pass)
    list_services = _blocking(service_passes.list_services)
