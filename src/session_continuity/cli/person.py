"""Whose name stands in the records of who did what."""

from __future__ import annotations

import os

import click


def user_name() -> str:
    """The name of the user of this process."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


person_option = click.option(
    "--person", default=user_name, help="Who does it: the name in the audit (default: your user name)."
)
