"""Settings: read and checked once. Each value comes from an option, the environment, the settings file of the
data folder, or the default, in this order."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from session_continuity.domain.alert_rules import USUAL_ALERTS, AlertSettings, parse_alerts
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.retention_policy import KEEP_EVERYTHING, Retention, parse_retention

FILE_NAME = "settings.toml"
MOST_PATTERNS, LONGEST_PATTERN = 100, 200
"""Of the patterns of one project."""


def default_home() -> Path:
    """The data folder of everything local: $XDG_DATA_HOME/session-continuity."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "session-continuity"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """What is captured in a folder and below: nothing, or all but what the patterns match (paths, tool names)."""

    capture: bool = True
    ignore: tuple[str, ...] = ()


def project_settings(table: Any, source: str) -> ProjectSettings:
    """Checks a table with `capture` and `ignore`. Raises InvalidInput, which names the source."""
    if not isinstance(table, dict):
        raise InvalidInput(f"{source} must be a table with capture or ignore", code="settings")
    values = cast("dict[str, Any]", table)
    if unknown := values.keys() - {"capture", "ignore"}:
        raise InvalidInput(
            f"{source} may set capture and ignore, not {', '.join(sorted(unknown))}", code="settings"
        )
    capture, ignore = values.get("capture", True), values.get("ignore", [])
    if not isinstance(capture, bool):
        raise InvalidInput(f"capture in {source} must be true or false", code="settings")
    patterns: list[Any] = cast("list[Any]", ignore) if isinstance(ignore, list) else [None]
    if len(patterns) > MOST_PATTERNS or not all(
        isinstance(one, str) and 0 < len(one) <= LONGEST_PATTERN for one in patterns
    ):
        raise InvalidInput(
            f"ignore in {source} must be a list of at most {MOST_PATTERNS} patterns of 1 to {LONGEST_PATTERN}"
            " characters",
            code="settings",
        )
    return ProjectSettings(capture=capture, ignore=tuple(patterns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the product needs to know. `sources` names, for each setting, where its value comes from.

    home: data folder of everything local. dsn: a PostgreSQL 15 or newer; without it the embedded server.
    deadline_seconds: every call ends within it. connections: most connections of one client.
    prepared_statements: off behind a PgBouncer in transaction mode. context_threshold_percent: a checkpoint is
    taken when the context window crosses it.
    brief_tokens: budget of a brief. postgres_binaries: bin folder for the embedded server.
    serve_host, serve_port: where `continuity serve` listens; port 0 is the usual one, or any that is free.
    serve_hosts: further names under which it may be asked. serve_requests_per_second: how often each token may
    ask, with ten times as many at once. serve_on_demand: whether a session's start starts it. oauth_issuer,
    oauth_audience, oauth_jwks: an OAuth issuer whose tokens are taken, what they must be for, its keys' URL.
    session_start_brief: what a session is told at its start of a thread that died or was left: off, notice, brief.
    fence_tools: whether a session that was taken over is told so, or its tools are blocked, too (tell, block).
    spool_bytes: with more in the spool, hooks keep nothing and count it. hook_seconds: how long the hooks of
    session start and compaction may hold the agent up.
    heartbeat_seconds: how often what lives with an agent's process says that its sessions live, where they
    declared no shorter interval.
    stored_text_characters: a longer captured text is stored as its head, tail, size and hash. projects: what is
    captured in some folders.
    stale_after_minutes: a session without a heartbeat for so long is stale, unless it declared an interval.
    stale_hold_minutes: how long none is marked when more than half fall silent at once; 0: never held.
    idle_checkpoint_minutes: after so long without an event, what no checkpoint covers is saved.
    retention: from which age rows go to the archive. archive_folder: where archives lie, by default in the data
    folder. archive_format: parquet, json-lines, or auto (Parquet where its extra is installed).
    alerts: which rules are evaluated, their thresholds, and who is told.
    """

    home: Path
    dsn: str | None = None
    deadline_seconds: float = 30.0
    connections: int = 16
    prepared_statements: bool = True
    context_threshold_percent: int = 80
    brief_tokens: int = 2_000
    postgres_binaries: Path | None = None
    serve_host: str = "127.0.0.1"
    serve_port: int = 0
    serve_hosts: tuple[str, ...] = ()
    serve_requests_per_second: int = 100
    serve_on_demand: bool = True
    oauth_issuer: str | None = None
    oauth_audience: str | None = None
    oauth_jwks: str | None = None
    session_start_brief: str = "brief"
    fence_tools: str = "block"
    spool_bytes: int = 2**30
    hook_seconds: float = 10.0
    heartbeat_seconds: float = 30.0
    stored_text_characters: int = 20_000
    stale_after_minutes: int = 30
    stale_hold_minutes: int = 10
    idle_checkpoint_minutes: int = 10
    projects: Mapping[str, ProjectSettings] = field(default_factory=dict[str, "ProjectSettings"])
    retention: Retention = KEEP_EVERYTHING
    archive_folder: Path | None = None
    archive_format: str = "auto"
    alerts: AlertSettings = USUAL_ALERTS
    sources: Mapping[str, str]


_ENVIRONMENT = {"home": "CONTINUITY_HOME", "dsn": "CONTINUITY_DSN"}
_TYPES: dict[str, type | tuple[type, ...]] = {
    "dsn": str,
    "prepared_statements": bool,
    "deadline_seconds": (int, float),
    "hook_seconds": (int, float),
    "heartbeat_seconds": (int, float),
    "serve_host": str,
    "serve_hosts": tuple,
    "serve_on_demand": bool,
    "oauth_issuer": str,
    "oauth_audience": str,
    "oauth_jwks": str,
}
_RANGES = {
    "deadline_seconds": (0.1, 3_600),
    "connections": (1, 1_000),
    "context_threshold_percent": (1, 100),
    "brief_tokens": (300, 1_000_000),
    "serve_port": (0, 65_535),
    "serve_requests_per_second": (1, 1_000_000),
    "spool_bytes": (2**20, 2**50),
    "hook_seconds": (0.5, 600),
    "heartbeat_seconds": (0.1, 3_600),
    "stored_text_characters": (1_000, 90_000),
    "stale_after_minutes": (1, 1_000_000),
    "stale_hold_minutes": (0, 10_000),
    "idle_checkpoint_minutes": (1, 1_000_000),
}
_CHOICES = {
    "session_start_brief": ("off", "notice", "brief"),
    "fence_tools": ("tell", "block"),
    "archive_format": ("auto", "parquet", "json-lines"),
}
_NAMES = tuple(field.name for field in fields(Settings) if field.name != "sources")


def load_settings(**options: Any) -> Settings:
    """The settings; an option that is None was not given. Raises InvalidInput naming the place of a bad value."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def take(name: str, value: Any, source: str) -> None:
        if name not in values:
            values[name], sources[name] = _checked(name, value, source), source

    for name, value in options.items():
        if value is not None:
            take(name, value, "option")
    for name, variable in _ENVIRONMENT.items():
        if os.environ.get(variable):
            take(name, os.environ[variable], variable)
    if "home" not in values:
        take("home", default_home(), "default")
    file = values["home"] / FILE_NAME
    for name, value in _read(file).items():
        if name not in _NAMES or name == "home":
            raise InvalidInput(
                f"{file}: there is no setting {name!r}; known are {', '.join(n for n in _NAMES if n != 'home')}",
                code="settings",
            )
        take(name, value, str(file))
    for name in _NAMES:
        sources.setdefault(name, "default")
    return Settings(**values, sources=sources)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{file} can't be read: {error}", code="settings") from None


def _checked(name: str, value: Any, source: str) -> Any:
    if name == "retention":
        return value if isinstance(value, Retention) else parse_retention(value, source)
    if name == "alerts":
        return value if isinstance(value, AlertSettings) else parse_alerts(value, source)
    if name in ("home", "postgres_binaries", "archive_folder"):
        return Path(value).expanduser().absolute()
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            known = ", ".join(_CHOICES[name])
            raise InvalidInput(f"{name} from {source} must be one of {known}, not {value!r}", code="settings")
        return value
    if name == "serve_hosts" and isinstance(value, list):
        value = tuple(cast("list[Any]", value))
    if name == "projects":
        if not isinstance(value, dict):
            raise InvalidInput(
                f'projects from {source} must be tables like [projects."/srv/shop"]', code="settings"
            )
        tables = cast("dict[str, Any]", value).items()
        return {folder: project_settings(table, f'[projects."{folder}"] of {source}') for folder, table in tables}
    wanted = _TYPES.get(name, int)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise InvalidInput(f"{name} from {source} can't be {value!r}", code="settings")
    if name in _RANGES:
        lowest, highest = _RANGES[name]
        if not lowest <= cast("float", value) <= highest:
            raise InvalidInput(f"{name} from {source} must be {lowest} to {highest}, not {value}", code="settings")
    return value
