"""Sessions by the process that runs them: what whoever lives and dies with that process may keep alive."""

from __future__ import annotations

from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.payload import check_text, encode_object
from session_continuity.domain.session_registry import Session, session_from_row

PROCESS = "process"
"""Where the metadata of a session keeps its process: `{"pid": ..., "started": ...}`, the mark of start beside the
id, since ids are used again."""

_MOST = 100


def find_process_sessions(host: str, pid: int, started: str) -> Operation[list[Session]]:
    """The sessions that this very process runs, the first one first: neither closed nor taken over. At most
    100. Raises InvalidInput."""
    parameters = {
        "host": check_text("host", host, 4_096),
        "pid": pid,
        "process": encode_object("process", {"pid": pid, "started": check_text("started", started, 200)}),
        "limit": _MOST,
    }

    def steps() -> Steps[list[Session]]:
        rows = yield Statement("find_process_sessions", parameters)
        return [session_from_row(row) for row in rows]

    return Operation("find_process_sessions", steps)
