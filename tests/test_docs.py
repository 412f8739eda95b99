"""The documents are true: what exists is documented, and what they show works."""

from __future__ import annotations

import re
import textwrap
from dataclasses import fields
from pathlib import Path

import click
import pytest

import session_continuity
from session_continuity import EVENT_TYPES, SessionContinuity, SessionContinuityError, Settings
from session_continuity.cli import app
from session_continuity.domain import errors
from session_continuity.domain.alert_rules import RULES, Rule

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")
SHOWN = "\n".join(path.read_text("utf-8") for path in DOCUMENTS)


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}

    def walk(command: click.Command, path: str, context: click.Context) -> None:
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                walk(command.get_command(context, name), f"{path} {name}", context)
        else:
            found[path] = command

    walk(app.root, "continuity", click.Context(app.root))
    return found


@pytest.mark.parametrize("path", commands())
def test_every_command_and_option_is_in_the_reference(path: str) -> None:
    (row,) = [line for line in REFERENCE.splitlines() if re.match(rf"\| `{path}[ `]", line)]
    for parameter in commands()[path].params:
        name = parameter.opts[0]
        if isinstance(parameter, click.Option) and name not in ("--json", "--dsn", "--home", "--help", "-h"):
            assert f"`{name}`" in row


def test_every_command_that_is_shown_exists() -> None:
    known = commands()
    for line in re.findall(r"(?:^|`|\(|\| )continuity ((?:[a-z-]+ ?)+)", SHOWN, re.MULTILINE):
        words = line.split()
        groups = {path.split()[1] for path in known}
        assert words[0] in groups, line
        if f"continuity {words[0]}" not in known:
            assert any(path.startswith(f"continuity {' '.join(words[:2])}") for path in known), line


def test_every_setting_event_type_error_and_method_is_in_the_reference() -> None:
    for field in fields(Settings):
        assert field.name == "sources" or f"`{field.name}`" in REFERENCE
    for event_type in EVENT_TYPES:
        assert f"`{event_type}`" in REFERENCE
    for name, kind in vars(errors).items():
        if (
            isinstance(kind, type)
            and issubclass(kind, SessionContinuityError)
            and name != "SessionContinuityError"
        ):
            assert f"| `{name}` | `{kind.code}` |" in REFERENCE
    for name in vars(SessionContinuity):
        if not name.startswith("_") and name not in ("run", "settings"):
            assert f"`{name}`" in REFERENCE


def test_the_readme_example_runs(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.setenv("CONTINUITY_DSN", database)
    exec(compile(textwrap.dedent(example), "README.md", "exec"), {})


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), (path.name, target)


def test_all_public_names_can_be_had() -> None:
    for name in session_continuity.__all__:
        assert getattr(session_continuity, name) is not None


def test_the_table_of_alerts_says_what_the_rules_are() -> None:
    rows = [line for line in (ROOT / "docs/alerts.md").read_text().splitlines() if line.startswith("| `")]
    assert rows == [_row_of(rule) for rule in RULES.values()]


def _row_of(rule: Rule) -> str:
    thresholds = ", ".join(
        f"`{name}` {one.default:g} ({one.unit}; {one.least:,.9g} to {one.most:,.9g})"
        for name, one in rule.thresholds.items()
    )
    return f"| `{rule.name}` | {rule.severity} | {thresholds or 'none'} | {rule.to_do} |"
