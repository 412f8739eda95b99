"""The retention policy: from which age rows go to the archive, and what of them stays (report: Cleanup Jobs,
Event Store Growth). Without a policy nothing moves.

A row is kept for at least the `archive_..._after` of its kind, so there is no second number of days; `keep_...`
keeps the last ones however old they are; both hold as well where the session is due as a whole. Above every
policy: what recovery and a brief need stays, and so does everything of a session under legal hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, cast

from session_continuity.domain.durations import parse_duration
from session_continuity.domain.errors import InvalidInput

NEVER = "never"
SHORTEST, LONGEST = timedelta(days=1), timedelta(days=36_500)
MOST_KEPT = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """The policy of a project. An age of None means never.

    archive_sessions_after: all of a closed session that its kind does not keep, from its end on; the last
    `keep_sessions` of the project are not due so. archive_events_after, archive_commands_after,
    archive_checkpoints_after: rows of any session by their age; the last `keep_events`, `keep_commands`,
    `keep_checkpoints` of each session stay. delete_archives_after: archives, by their age, for good.
    """

    archive_sessions_after: timedelta | None = None
    archive_events_after: timedelta | None = None
    archive_commands_after: timedelta | None = None
    archive_checkpoints_after: timedelta | None = None
    delete_archives_after: timedelta | None = None
    keep_sessions: int = 0
    keep_events: int = 0
    keep_commands: int = 0
    keep_checkpoints: int = 0

    @property
    def archives(self) -> bool:
        """Whether anything is ever archived."""
        return bool(self.shortest)

    @property
    def shortest(self) -> timedelta | None:
        """The lowest age at which something is archived."""
        ages = [
            self.archive_sessions_after,
            self.archive_events_after,
            self.archive_commands_after,
            self.archive_checkpoints_after,
        ]
        return min((age for age in ages if age is not None), default=None)

    def as_json(self) -> dict[str, Any]:
        """The policy with ages in seconds."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: v.total_seconds() if isinstance(v, timedelta) else v for name, v in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The policy of every project, and those of single ones."""

    default: RetentionPolicy = RetentionPolicy()
    projects: Mapping[str, RetentionPolicy]

    def of(self, project: str) -> RetentionPolicy:
        return self.projects.get(project, self.default)

    @property
    def is_set(self) -> bool:
        """Whether any policy ever does anything."""
        policies = (self.default, *self.projects.values())
        return any(policy.archives or policy.delete_archives_after for policy in policies)

    def as_json(self) -> dict[str, Any]:
        policies = {project: policy.as_json() for project, policy in self.projects.items()}
        return {"default": self.default.as_json(), "projects": policies}


KEEP_EVERYTHING = Retention(projects={})

_NAMES = tuple(field.name for field in fields(RetentionPolicy))


def parse_retention(value: Any, source: str) -> Retention:
    """The table `[retention]` with its tables `[retention."PROJECT"]`, which go on from it. Raises InvalidInput
    (settings), naming the source."""
    if not isinstance(value, dict):
        raise InvalidInput(f"retention from {source} must be a table [retention]", code="settings")
    entries = cast("dict[str, Any]", value)
    own = {name: entry for name, entry in entries.items() if not isinstance(entry, dict)}
    default = _policy(RetentionPolicy(), own, f"[retention] of {source}")
    projects = {
        project: _policy(default, cast("dict[str, Any]", entry), f'[retention."{project}"] of {source}')
        for project, entry in entries.items()
        if isinstance(entry, dict)
    }
    return Retention(default=default, projects=projects)


def _policy(base: RetentionPolicy, table: dict[str, Any], source: str) -> RetentionPolicy:
    if unknown := sorted(table.keys() - set(_NAMES)):
        raise InvalidInput(
            f"{source} may set {', '.join(_NAMES)}, not {', '.join(unknown)}; a project's own policy is a table"
            ' [retention."PROJECT"]',
            code="settings",
        )
    return replace(base, **{name: _checked(name, value, source) for name, value in table.items()})


def _checked(name: str, value: Any, source: str) -> Any:
    if name.startswith("keep_"):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_KEPT:
            raise InvalidInput(
                f"{name} in {source} must be a whole number from 0 to {MOST_KEPT:,}, not {value!r}",
                code="settings",
            )
        return value
    if value == NEVER:
        return None
    try:
        age = parse_duration(value) if isinstance(value, str) else None
    except InvalidInput:
        age = None
    if age is None or not SHORTEST <= age <= LONGEST:
        raise InvalidInput(
            f'{name} in {source} must be a duration from 1d to {LONGEST.days}d like "90d", or "never",'
            f" not {value!r}",
            code="settings",
        )
    return age
