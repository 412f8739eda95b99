"""What a resume would find and give, before it is done."""

from __future__ import annotations

import shlex
import socket
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from session_continuity.briefing import Briefing, brief_continuation
from session_continuity.domain.session_registry import Session
from session_continuity.web.dashboard.session_page import head_of
from session_continuity.web.dashboard.visit import Visit

_PROGRAMS = {"claude-code": "claude", "codex": "codex", "gemini-cli": "gemini", "opencode": "opencode"}
"""What starts each harness in a terminal."""


async def show(visit: Visit) -> Response:
    """The brief as it would be given, the drift and the unknown outcomes."""
    instance_id = visit.request.path_params["instance_id"]
    head = await head_of(visit)
    context: dict[str, Any] = {
        "head": head, "tab": "resume", "instance_id": instance_id, "briefing": None,
        "start": start_command(head.session), "here": socket.gethostname(),
    }  # fmt: skip
    if not head.can_write:
        return visit.page("resume.html", **context)
    continued = await visit.client.preview_continuation(instance_id)

    def look() -> Briefing:
        return brief_continuation(continued, budget=visit.settings.brief_tokens)

    context["briefing"] = await run_in_threadpool(look)
    return visit.page("resume.html", **context)


def start_command(session: Session) -> str:
    """What a person types to let the session's harness go on in its folder."""
    program = _PROGRAMS.get(session.harness or "")
    if program is None:
        return f"continuity resume {session.instance_id}"
    return f"cd {shlex.quote(session.cwd)} && {program}" if session.cwd else program
