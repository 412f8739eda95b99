"""GET /metrics: the figures of the fleet, its database and this process, for Prometheus.

Names follow its conventions: base units, counters end in _total. Nothing is labelled by session or epic: what
grows without bound would fill the memory of whoever scrapes. Of projects the busiest are, the rest is "other".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from importlib.metadata import version

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from session_continuity.client import SessionContinuity
from session_continuity.domain.alerts import MOST_FOUND
from session_continuity.domain.errors import SessionContinuityError
from session_continuity.domain.health import FleetMetrics, SystemHealth
from session_continuity.domain.service_passes import ServiceState
from session_continuity.domain.session_registry import STATUSES
from session_continuity.domain.storage import Storage
from session_continuity.web.access import require_scope
from session_continuity.web.refusals import RefusedRequest
from session_continuity.web.tokens import READ

PATH = "/metrics"

Waiting = Callable[[], tuple[int, datetime | None]]
"""How many captured records wait in the spool, and since when the oldest does."""


def metrics_route(client: SessionContinuity, waiting: Waiting) -> Route:
    """The route; it needs a token with the scope read that is limited to no project."""

    async def metrics(request: Request) -> Response:
        require_scope(request, READ)
        if request.state.token.projects is not None:
            raise RefusedRequest(
                403, "project_not_allowed", "metrics are of all projects; use a token without one"
            )
        return Response(await run_in_threadpool(exposition, client, waiting), media_type=CONTENT_TYPE_LATEST)

    return Route(PATH, metrics, methods=["GET"])


def exposition(client: SessionContinuity, waiting: Waiting) -> bytes:
    """The text of one scrape. `continuity_up` is 0 when the database does not answer; its figures are left out."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Figures(client, waiting))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, client: SessionContinuity, waiting: Waiting) -> None:
        self._client, self._waiting = client, waiting

    def collect(self) -> Iterator[Metric]:
        began = time.monotonic()
        yield InfoMetricFamily(
            "continuity_build", "The release that answers.", {"version": version("session-continuity")}
        )
        try:
            yield from _spool(*self._waiting())
            health, fleet = self._client.get_system_health(), self._client.get_fleet_metrics()
            last_minute, _ = self._client.count_events_by_minute(2)
            services, storage = self._client.list_services(), self._client.get_storage()
        except SessionContinuityError:
            yield _gauge("continuity_up", "Whether the database answered.", 0)
        else:
            yield _gauge("continuity_up", "Whether the database answered.", 1)
            yield from _fleet(health, fleet, last_minute.events)
            yield from _services(services, health.checked_at)
            yield from _storage(storage)
        yield _gauge("continuity_scrape_seconds", "How long these figures took.", time.monotonic() - began)


def _fleet(health: SystemHealth, fleet: FleetMetrics, events_last_minute: int) -> Iterator[Metric]:
    sessions = {status: getattr(health, status) for status in STATUSES}
    yield _labelled("continuity_sessions", "Sessions by state, each to 10,000.", "status",
                    sessions.items())  # fmt: skip
    yield _labelled("continuity_project_active_sessions", "Active sessions of the busiest projects.", "project",
                    fleet.active_by_project.items())  # fmt: skip
    yield _gauge("continuity_oldest_active_heartbeat_seconds", "Age of the oldest heartbeat of an active session.",
                 fleet.oldest_heartbeat_seconds)  # fmt: skip
    yield _gauge("continuity_unsaved_events", "Events of active sessions that no checkpoint covers.",
                 fleet.unsaved_events)  # fmt: skip
    yield _gauge("continuity_commands_in_flight", "Commands whose outcome is not known yet, to 10,000.",
                 health.in_flight)  # fmt: skip
    yield _gauge("continuity_commands_failed_last_hour", "Commands of the last hour that failed, to 10,000.",
                 health.failed_last_hour)  # fmt: skip
    yield _gauge("continuity_commands_slow_last_hour", "Commands of the last hour over 5 seconds, to 10,000.",
                 health.slow_last_hour)  # fmt: skip
    yield _gauge("continuity_events_last_minute", "Events of the last whole minute, to 10,000.",
                 events_last_minute)  # fmt: skip
    yield _labelled("continuity_alerts", f"Alerts that last, to {MOST_FOUND} of a rule.", "rule",
                    fleet.alerts_by_rule.items())  # fmt: skip


def _services(services: Iterable[ServiceState], now: datetime) -> Iterator[Metric]:
    ages = GaugeMetricFamily(
        "continuity_service_last_pass_age_seconds", "Since the last pass of a service ended.", labels=["service"]
    )
    took = GaugeMetricFamily(
        "continuity_service_last_pass_seconds", "How long the last pass of a service took.", labels=["service"]
    )
    failed = GaugeMetricFamily(
        "continuity_service_last_pass_failed", "Whether the last pass of a service failed.", labels=["service"]
    )
    for service in services:
        last = service.last_pass
        if last is not None:
            ages.add_metric([service.name], max(0.0, (now - last.finished_at).total_seconds()))
            took.add_metric([service.name], (last.finished_at - last.started_at).total_seconds())
            failed.add_metric([service.name], 0 if last.error is None else 1)
    yield from (ages, took, failed)


def _storage(storage: Storage) -> Iterator[Metric]:
    yield _gauge("continuity_database_bytes", "Size of the database.", storage.database_bytes)
    yield _gauge("continuity_connections_limit", "Connections that the server takes.", storage.max_connections)
    yield _labelled("continuity_connections", "Connections to the database.", "state", storage.connections.items())
    yield _gauge("continuity_oldest_transaction_seconds", "How long the oldest transaction runs.",
                 storage.oldest_transaction_seconds)  # fmt: skip
    tables, indexes = storage.tables, storage.indexes
    yield _labelled("continuity_table_bytes", "Size of a table without its indexes.", "table",
                    ((each.table, each.table_bytes) for each in tables))  # fmt: skip
    yield _labelled("continuity_table_index_bytes", "Size of the indexes of a table.", "table",
                    ((each.table, each.index_bytes) for each in tables))  # fmt: skip
    yield _labelled("continuity_table_rows", "Rows of a table, as the server estimates them.", "table",
                    ((each.table, each.rows) for each in tables))  # fmt: skip
    yield _labelled("continuity_table_dead_rows", "Dead rows of a table.", "table",
                    ((each.table, each.dead_rows) for each in tables))  # fmt: skip
    grown = ((each.table, each.bytes_per_day) for each in tables if each.bytes_per_day is not None)
    yield _labelled("continuity_table_growth_bytes_per_day", "Growth of a table by its samples.", "table", grown)
    scans = CounterMetricFamily("continuity_index_scans", "Scans of an index.", labels=["index"])
    for index in indexes:
        scans.add_metric([index.index], index.scans)
    yield scans
    yield _gauge(
        "continuity_indexes_invalid", "Indexes that are not valid.", sum(not each.valid for each in indexes)
    )


def _spool(waiting: int, oldest: datetime | None) -> Iterator[Metric]:
    yield _gauge("continuity_spool_records", "Captured records that wait in the spool.", waiting)
    age = 0.0 if oldest is None else max(0.0, datetime.now(oldest.tzinfo).timestamp() - oldest.timestamp())
    yield _gauge("continuity_spool_oldest_record_seconds", "Age of the oldest record in the spool.", age)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)


def _labelled(name: str, meaning: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for each, value in values:
        family.add_metric([each], value)
    return family
