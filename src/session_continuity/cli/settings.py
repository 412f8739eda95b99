"""continuity settings: every setting, its value and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import click

from session_continuity.cli.arguments import Call, Group, pass_call
from session_continuity.cli.output import write_table
from session_continuity.domain.alert_rules import AlertSettings
from session_continuity.domain.retention_policy import Retention

if TYPE_CHECKING:
    from session_continuity.settings import ProjectSettings

_IN_URL = re.compile(r"^(\w+://[^/?#@:]*):[^/?#]*@")
_IN_WORDS = re.compile(r"((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]+)", re.IGNORECASE)


@click.group(cls=Group)
def settings() -> None:
    """Show the settings and where each value comes from."""


@settings.command(
    "show", examples=("continuity settings show", "continuity --home /srv/continuity settings show --json")
)
@pass_call
def show_settings(call: Call) -> None:
    """Show every setting, its value and where it comes from."""
    found = call.settings
    answer = {
        name: {"value": _shown(getattr(found, name)), "source": source}
        for name, source in sorted(found.sources.items())
    }
    rows = [(name, entry["value"], entry["source"]) for name, entry in answer.items()]
    call.answer(answer, lambda: write_table(("setting", "value", "from"), rows, nothing="no settings"))


def without_password(dsn: str) -> str:
    """A connection string with its password hidden."""
    return _IN_WORDS.sub(r"\1****", _IN_URL.sub(r"\1:****@", dsn))


def _shown(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Retention | AlertSettings):
        return value.as_json()
    if isinstance(value, Mapping):
        projects = cast("Mapping[str, ProjectSettings]", value)
        return {folder: asdict(rules) for folder, rules in projects.items()}
    return without_password(str(value))
