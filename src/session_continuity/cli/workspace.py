"""Where a command runs, as a session's origin."""

from __future__ import annotations

import os
import socket
from typing import Any

from session_continuity.domain.session_registry import Origin
from session_continuity.workspace import observe_workspace


def here(cwd: str | None, **known: Any) -> Origin:
    """The origin of a session that works in `cwd` (default: the current folder) on this machine."""
    observed = observe_workspace(os.getcwd() if cwd is None else cwd)
    return Origin(
        host=socket.gethostname(),
        cwd=observed.cwd,
        git_branch=observed.branch,
        git_head=observed.head,
        **known,
    )
