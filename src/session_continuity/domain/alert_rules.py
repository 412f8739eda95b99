"""The rules of the alerts, as data: what each finds, how grave it is, its thresholds, and what to do (report:
Monitoring Recommendations; design section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from session_continuity.domain.errors import InvalidInput

Severity = Literal["warning", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A number that a person may set, its unit, and its bounds."""

    default: float
    unit: str
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`says` is filled with the alert's subject and details, `bytes` in larger units. `statement` finds it in the
    database; without one a machine finds it about itself. `every_seconds` lie between two evaluations.
    `as_login`: it looks at the connections of the server, of which a role sees its own."""

    name: str
    severity: Severity
    says: str
    to_do: str
    statement: str | None = None
    thresholds: Mapping[str, Threshold] = field(default_factory=dict[str, Threshold])
    every_seconds: float = 30.0
    as_login: bool = False


def _rule(name: str, severity: Severity, says: str, to_do: str, **options: Any) -> Rule:
    return Rule(name=name, severity=severity, says=says, to_do=to_do, **options)


def _number(default: float, unit: str, least: float, most: float) -> Threshold:
    return Threshold(default=default, unit=unit, least=least, most=most)


DATABASE_RULES: tuple[Rule, ...] = (
    _rule(
        "stale_session", "warning", "{subject} has gone silent; its last heartbeat was at {last_heartbeat}",
        "Look whether its agent runs; resume the session, or close it.", statement="evaluate_stale_session",
    ),
    _rule(
        "slow_command", "warning", "{subject} ran {commands} slow commands, the slowest {slowest_ms} ms",
        "Look at the commands in its timeline.", statement="evaluate_slow_command",
        thresholds={"slow_command_seconds": _number(5, "seconds", 5, 86_400)},
    ),
    _rule(
        "slower_tool", "warning", "{subject} takes {median_ms} ms (median of the last hour), {before_ms} before",
        "Look what changed on the machines where it runs.", statement="evaluate_slower_tool", every_seconds=300.0,
        thresholds={
            "slower_tool_factor": _number(3, "times the day before", 1.1, 1_000),
            "slower_tool_commands": _number(20, "commands at least", 2, 1_000),
        },
    ),
    _rule(
        "table_growth", "warning", "{subject} grows by {bytes_per_day} a day and has {bytes}",
        "Set a retention policy, or raise the threshold.", statement="evaluate_table_growth", every_seconds=600.0,
        thresholds={"table_growth_mb_per_day": _number(2_000, "MB a day", 1, 10_000_000)},
    ),
    _rule(
        "index_health", "warning", "index {subject} of {table} is not well: valid {valid}, {bytes}",
        "REINDEX INDEX CONCURRENTLY it.", statement="evaluate_index_health", every_seconds=600.0,
        thresholds={
            "index_least_mb": _number(500, "MB at least", 1, 10_000_000),
            "index_table_factor": _number(2, "times its table", 0.1, 1_000),
        },
    ),
    _rule(
        "slow_query", "warning", "{subject} runs a query for {seconds} s ({application})",
        "Look at pg_stat_activity; cancel it if nobody waits for it.",
        statement="evaluate_slow_query", as_login=True,
        thresholds={"slow_query_seconds": _number(30, "seconds", 1, 86_400)},
    ),
    _rule(
        "unsaved_context", "critical", "{subject} has its context {context_percent} % full and {unsaved_events}"
        " events that no checkpoint covers", "Take a checkpoint.", statement="evaluate_unsaved_context",
        thresholds={
            "unsaved_context_percent": _number(80, "percent", 1, 99),
            "unsaved_context_events": _number(50, "events", 1, 1_000_000),
        },
    ),
    _rule(
        "second_owner", "critical", "{subject} was taken over by {taken_over_by}, yet its copy ran {late_commands}"
        " commands since", "End the old agent: two work on one thread.", statement="evaluate_second_owner",
    ),
    _rule(
        "failing_tests", "warning", "{subject} saw its last {failures} tests fail, since event {since_event}",
        "Look at its timeline; it may run in circles.", statement="evaluate_failing_tests",
        thresholds={"failing_tests": _number(5, "tests", 2, 100)},
    ),
    _rule(
        "sweep_held", "critical", "the stale sweep holds {held} sessions back: more than half fell silent at once",
        "Look at the clock and the network; `continuity sessions sweep --all` lets it mark them.",
        statement="evaluate_sweep_held",
    ),
    _rule(
        "failing_service", "critical", "the service {service} failed on {host}: {error}",
        "The log of the server says more.", statement="evaluate_failing_service",
    ),
    _rule(
        "archive_problems", "critical", "the archive found {problems} problems, on {host}",
        "`continuity archive run` there tells them.", statement="evaluate_archive_problems",
    ),
    _rule(
        "archive_overdue", "warning", "the archive has not worked since {last_pass}",
        "Look whether `continuity serve` runs, and at `continuity archive plan`.", every_seconds=600.0,
        statement="evaluate_archive_overdue",
        thresholds={"archive_overdue_hours": _number(24, "hours", 1, 10_000)},
    ),
)  # fmt: skip
"""What is found in the database, once for the whole fleet."""

SPOOL_OLD = _rule(
    "spool_old", "critical", "on {subject} {waiting} captured records wait, the oldest for {minutes} minutes",
    "Look at `continuity serve --status` there.",
    thresholds={"spool_old_minutes": _number(10, "minutes", 1, 100_000)},
)  # fmt: skip
DISK_FULL = _rule(
    "disk_full", "critical", "on {subject} the disk of {folder} has {free_mb} MB free, {free_percent} %",
    "Make room, or set a retention policy.",
    thresholds={
        "disk_free_percent": _number(5, "percent", 0, 90),
        "disk_free_mb": _number(2_000, "MB", 0, 10_000_000),
    },
)  # fmt: skip
DATABASE_UNREACHABLE = _rule(
    "database_unreachable", "critical", "{subject} has not reached the database for {seconds} s",
    "Look whether the server runs. Captured records wait in the spool; nothing is lost.",
    thresholds={"database_unreachable_seconds": _number(60, "seconds", 5, 86_400)},
)  # fmt: skip

RULES: Mapping[str, Rule] = {
    rule.name: rule for rule in (*DATABASE_RULES, SPOOL_OLD, DISK_FULL, DATABASE_UNREACHABLE)
}
"""Every rule by its name."""

THRESHOLDS: Mapping[str, Threshold] = {
    name: threshold for rule in RULES.values() for name, threshold in rule.thresholds.items()
}
"""Every threshold by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """The table `[alerts]`. `off` names rules that are not evaluated; `thresholds` those that differ. `webhook` is
    an http or https URL that gets each alert as JSON, signed with `webhook_secret`; `notify` are URLs for the
    extra of that name."""

    off: frozenset[str] = frozenset()
    thresholds: Mapping[str, float] = field(default_factory=dict[str, float])
    webhook: str | None = field(default=None, repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    notify: tuple[str, ...] = field(default=(), repr=False)

    def values_of(self, rule: Rule) -> dict[str, float]:
        """The thresholds of a rule as they are set."""
        return {name: self.thresholds.get(name, threshold.default) for name, threshold in rule.thresholds.items()}

    def as_json(self) -> dict[str, Any]:
        """What may be shown: no secret, of the webhook its host (services keep tokens in paths), of each URL to
        notify its scheme."""
        return {
            "off": sorted(self.off),
            "thresholds": {name: self.thresholds.get(name, one.default) for name, one in THRESHOLDS.items()},
            "webhook": self.webhook and f"{urlsplit(self.webhook).scheme}://{urlsplit(self.webhook).hostname}",
            "notify": [url.partition("://")[0] for url in self.notify],
        }


USUAL_ALERTS = AlertSettings()
"""Every rule with its usual thresholds, told by the log alone."""


def parse_alerts(value: Any, source: str) -> AlertSettings:
    """The table `[alerts]`. Raises InvalidInput (settings), naming the source."""
    if not isinstance(value, dict):
        raise InvalidInput(f"alerts from {source} must be a table [alerts]", code="settings")
    table = cast("dict[str, Any]", value)
    known = {"off", "webhook", "webhook_secret", "notify", *THRESHOLDS}
    if unknown := sorted(table.keys() - known):
        raise InvalidInput(
            f"[alerts] of {source} may set {', '.join(sorted(known))}, not {', '.join(unknown)}", code="settings"
        )
    off = _texts(table.get("off", []), "off", source)
    if strange := sorted(set(off) - RULES.keys()):
        raise InvalidInput(
            f"off in [alerts] of {source}: there is no rule {', '.join(strange)}; known are {', '.join(RULES)}",
            code="settings",
        )
    webhook = _text(table.get("webhook"), "webhook", source)
    if webhook is not None and not _is_web_address(webhook):
        raise InvalidInput(f"webhook in [alerts] of {source} must be an http or https URL", code="settings")
    return AlertSettings(
        off=frozenset(off),
        thresholds={name: _threshold(name, table[name], source) for name in THRESHOLDS if name in table},
        webhook=webhook,
        webhook_secret=_text(table.get("webhook_secret"), "webhook_secret", source),
        notify=_texts(table.get("notify", []), "notify", source),
    )


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the brackets or the port
        return False


def _threshold(name: str, value: Any, source: str) -> float:
    bounds = THRESHOLDS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not bounds.least <= value <= bounds.most:
        raise InvalidInput(
            f"{name} in [alerts] of {source} must be {bounds.least:,.9g} to {bounds.most:,.9g} ({bounds.unit})",
            code="settings",
        )
    return float(value)


def _text(value: Any, name: str, source: str) -> str | None:
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise InvalidInput(f"{name} in [alerts] of {source} must be a text", code="settings")
    return value


def _texts(value: Any, name: str, source: str) -> tuple[str, ...]:
    entries: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [None]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise InvalidInput(f"{name} in [alerts] of {source} must be a list of texts", code="settings")
    return tuple(entries)
