"""The export of a session: the file that the browser keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.operation import Operation
from session_continuity.domain.project_view import within
from session_continuity.web.dashboard.export import FORMATS, MEDIA_TYPES, export_session
from session_continuity.web.dashboard.rendering import HEADERS
from session_continuity.web.dashboard.visit import Visit


async def export(visit: Visit) -> Response:
    """The session as a file."""
    instance_id = visit.request.path_params["instance_id"]
    form = visit.asked("format") or "html"
    if form not in FORMATS:
        raise InvalidInput(f"a session is exported as {' or '.join(FORMATS)}", code="export_format")
    await visit.client.get_session(instance_id)
    projects = None if visit.viewer is None else visit.viewer.projects
    threshold = visit.settings.context_threshold_percent

    def pieces() -> Iterator[bytes]:
        with SessionContinuity(visit.settings) as blocking:

            def run(operation: Operation[Any]) -> Any:
                return blocking.run(operation if projects is None else within(projects, operation))

            yield from export_session(run, instance_id, form, threshold=threshold)

    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{instance_id}.{form}"'}
    return StreamingResponse(pieces(), headers=headers, media_type=MEDIA_TYPES[form])
