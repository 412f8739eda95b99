"""Finds a statement of queries/*.sql by its name.

A file holds statements headed `-- name: x`, each with a line that describes it, and fragments headed
`-- fragment: x`, which stand for `{x}` in the statements of every file.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import LiteralString, cast

_HEAD = re.compile(r"^-- (name|fragment): (\w+)\n", re.MULTILINE)


@cache
def statements() -> dict[str, str]:
    """All statements by name, in psycopg's placeholder form."""
    parts: dict[str, dict[str, str]] = {"name": {}, "fragment": {}}
    for file in sorted(
        resources.files("session_continuity.postgres").joinpath("queries").iterdir(),
        key=lambda path: path.name,
    ):
        if not file.name.endswith(".sql"):
            continue
        pieces = _HEAD.split(file.read_text("utf-8"))[1:]
        for kind, name, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            if name in parts[kind]:
                raise ValueError(f"{file.name}: {kind} {name} is there twice")
            parts[kind][name] = text.strip().removesuffix(";")
    fragments = {f"{{{name}}}": text for name, text in parts["fragment"].items()}
    found: dict[str, str] = {}
    for name, text in parts["name"].items():
        body = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
        for mark, fragment in fragments.items():
            body = body.replace(mark, fragment)
        found[name] = body
    return found


def statement(name: str) -> LiteralString:
    """The SQL of one statement. Raises KeyError when there is none by that name."""
    return cast("LiteralString", statements()[name])
