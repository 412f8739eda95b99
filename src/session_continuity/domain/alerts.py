"""Alerts: raised once for as long as what a rule finds lasts, resolved when it is over, acknowledged by a person,
and delivered once to each channel (report: Monitoring Recommendations)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from session_continuity.domain.alert_rules import RULES, AlertSettings, Rule, Severity
from session_continuity.domain.errors import NotFound
from session_continuity.domain.measures import size
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Rows, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place
from session_continuity.domain.payload import check_text, encode_object
from session_continuity.domain.session_registry import check_choice
from session_continuity.domain.text import printable, shorten

MOST_FOUND = 1_000
"""Alerts that one rule has at a time."""

MOST_ATTEMPTS = 20
"""A delivery that failed so often is given up; the first pauses are 30 s, 1 min, 2 min, the longest an hour."""

News = Literal["raised", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A row of alerts. `subject` is an instance id, or the name of a tool, table, index, service or machine;
    `project` is None for what concerns no single one. Times are aware, from the database clock."""

    alert_id: UUID
    rule: str
    subject: str
    project: str | None
    severity: Severity
    details: dict[str, Any]
    raised_at: datetime
    resolved_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None

    @property
    def summary(self) -> str:
        """What it says, in one line."""
        return summary_of(self.rule, self.subject, self.details)


class Settled(NamedTuple):
    """The subjects for which one evaluation raised an alert, and those for which it resolved one."""

    raised: list[str]
    resolved: list[str]


class Delivery(NamedTuple):
    """What one channel is to be told; `attempts` counts this one, too."""

    news: News
    attempts: int
    alert: Alert

    @property
    def id(self) -> str:
        """The same for every attempt, so that who gets it twice can tell."""
        return f"{self.alert.alert_id}:{self.news}"


_FIELDS = tuple(Alert.__dataclass_fields__)
_MOMENT = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?\+00:00$")
_NAME = re.compile(r"\{(\w+)\}")


def summary_of(rule: str, subject: str, details: Mapping[str, Any]) -> str:
    """What an alert says; captured text in it is made visible and short."""

    def fill(match: re.Match[str]) -> str:
        value = subject if match[1] == "subject" else details.get(match[1], "unknown")
        if match[1].startswith("bytes") and isinstance(value, int | float):
            value = size(value)
        text = _MOMENT.sub(r"\1 \2 UTC", str(value))
        return printable(shorten(" ".join(text.split()), 200))

    return _NAME.sub(fill, RULES[rule].says if rule in RULES else "{subject}")


def evaluate_rule(rule: Rule, settings: AlertSettings, *, archive_is_set: bool = False) -> Operation[Settled]:
    """Look once for what a rule of the database finds: raise what is new, resolve what is over."""
    assert rule.statement is not None  # noqa: S101
    parameters = {
        "rule": rule.name,
        "severity": rule.severity,
        "most": MOST_FOUND,
        "archive_is_set": archive_is_set,
        **settings.values_of(rule),
    }

    def steps() -> Steps[Settled]:
        if rule.as_login:
            yield Statement("act_as_login", {})
        return (yield from _settled(rule.statement or "", parameters))

    return Operation("evaluate_rule", steps, atomic=rule.as_login)


def settle_machine_alert(rule: Rule, host: str, details: Mapping[str, Any] | None) -> Operation[Settled]:
    """What a machine found about itself: `details` of what is the matter, None when nothing is. Resolves the
    alerts of machines that are gone, too. Raises InvalidInput."""
    check_text("host", host, 200)
    parameters = {
        "rule": rule.name,
        "severity": rule.severity,
        "host": host,
        "most": MOST_FOUND,
        "subjects": [] if details is None else [host],
        "details": [] if details is None else [encode_object("details", details)],
    }
    return Operation("settle_machine_alert", lambda: _settled("settle_machine_alerts", parameters))


def list_alerts(
    *, is_open: bool | None = None, rule: str | None = None, before: Place | None = None, limit: int = 100
) -> Operation[list[Alert]]:
    """Alerts, the latest first: with `is_open` those that last, or those that are over. `before` pages on:
    (raised_at, alert_id) of the last one. Raises InvalidInput."""
    parameters = {
        **ALL_PROJECTS,
        "is_open": is_open,
        "rule": rule and check_choice("rule", rule, tuple(RULES)),
        **check_place(before, UUID(int=0)),
        "limit": check_limit(limit, 1_000),
    }

    def steps() -> Steps[list[Alert]]:
        rows = yield Statement("list_alerts", parameters)
        return [_alert(row) for row in rows]

    return Operation("list_alerts", steps)


def acknowledge_alert(alert_id: UUID, *, person: str) -> Operation[Alert]:
    """Say that a person has seen an alert; the first one counts. Raises NotFound, InvalidInput."""
    parameters = {**ALL_PROJECTS, "alert_id": alert_id, "person": check_text("person", person, 100)}

    def steps() -> Steps[Alert]:
        rows = yield Statement("acknowledge_alert", parameters)
        if not rows:
            raise NotFound(f"no alert {alert_id}; `continuity alerts list` shows what is there")
        return _alert(rows[0])

    return Operation("acknowledge_alert", steps)


def drop_old_alerts() -> Operation[None]:
    """Delete alerts that were resolved over 90 days ago."""

    def steps() -> Steps[None]:
        yield Statement("drop_old_alerts", {})

    return Operation("drop_old_alerts", steps)


def claim_delivery(channel: str) -> Operation[Delivery | None]:
    """What a channel is to be told next, for one caller alone until the next attempt at it is due: one at a time,
    since a claim lasts longer than one message takes. None when nothing is due. Raises InvalidInput."""
    parameters = {"channel": check_text("channel", channel, 200), "most_attempts": MOST_ATTEMPTS}

    def steps() -> Steps[Delivery | None]:
        yield Statement("enter_deliveries", {"channel": channel})
        rows = yield Statement("claim_delivery", parameters)
        return Delivery(rows[0][0], rows[0][1], _alert(rows[0][2:])) if rows else None

    return Operation("claim_delivery", steps)


def settle_delivery(delivery: Delivery, channel: str, *, error: str | None = None) -> Operation[None]:
    """Note that an attempt ended well, or why not."""
    parameters = {
        "alert_id": delivery.alert.alert_id,
        "channel": channel,
        "news": delivery.news,
        "error": error and shorten(printable(error), 500),
    }

    def steps() -> Steps[None]:
        yield Statement("settle_delivery", parameters)

    return Operation("settle_delivery", steps)


def _settled(statement: str, parameters: Mapping[str, Any]) -> Steps[Settled]:
    rows: Rows = yield Statement(statement, parameters)
    by_news: dict[str, list[str]] = {"raised": [], "resolved": []}
    for news, subject in rows:
        by_news[news].append(subject)
    return Settled(by_news["raised"], by_news["resolved"])


def _alert(row: tuple[Any, ...]) -> Alert:
    return Alert(**dict(zip(_FIELDS, row, strict=True)))
