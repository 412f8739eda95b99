"""What can't be undone is done only when it was confirmed: by --yes, or on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from session_continuity.cli.arguments import Call
from session_continuity.cli.output import is_terminal
from session_continuity.domain.errors import InvalidInput


def confirm(call: Call, consequence: str, plan: list[Any], show: Callable[[], None]) -> None:
    """Show the plan and ask on a terminal; elsewhere refuse, saying how to go on. Raises InvalidInput
    (not_confirmed) with the plan."""
    if not call.as_json:
        show()
    if call.as_json or not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise InvalidInput(f"{consequence}; pass --yes to do it", code="not_confirmed", plan=plan)
    click.echo(f"{consequence}. Go on? [y/N] ", err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InvalidInput("nothing was changed", code="not_confirmed", plan=plan)
