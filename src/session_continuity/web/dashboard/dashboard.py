"""The dashboard's routes: which page answers where, whom, and to what.

Every page passes one place that asks who looks, and every change one that asks for the form's token and the scope:
a route can't be added past them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.domain.errors import Forbidden, NotFound, SessionContinuityError
from session_continuity.limited_client import LimitedClient
from session_continuity.settings import Settings
from session_continuity.web.dashboard import (
    activity_page,
    changes,
    checkpoints_page,
    export_page,
    operations_page,
    overview_page,
    resume_page,
    sample,
    search_page,
    session_page,
    signing_in,
    state_page,
)
from session_continuity.web.dashboard.live import Feed, stream
from session_continuity.web.dashboard.rendering import HEADERS, Templates, answer, takes_gzip
from session_continuity.web.dashboard.visit import CHANGE_LIMITS, Visit
from session_continuity.web.refusals import status_of
from session_continuity.web.sign_in import SignIns, Viewer
from session_continuity.web.tokens import ADMIN, READ, WRITE

Page = Callable[[Visit], Awaitable[Response]]

PAGES: dict[str, Page] = {
    "/": overview_page.show,
    "/sessions/{instance_id}": session_page.show_timeline,
    "/sessions/{instance_id}/entries/{kind}/{reference:int}": session_page.show_entry,
    "/sessions/{instance_id}/state": state_page.show,
    "/sessions/{instance_id}/activity": activity_page.show,
    "/sessions/{instance_id}/checkpoints": checkpoints_page.show,
    "/sessions/{instance_id}/checkpoints/{checkpoint_id}": checkpoints_page.show_one,
    "/sessions/{instance_id}/resume": resume_page.show,
    "/sessions/{instance_id}/confirm": changes.confirm,
    "/sessions/{instance_id}/export": export_page.export,
    "/search": search_page.show,
    "/connect": sample.connect,
    "/operations": operations_page.show_alerts,
    "/operations/storage": operations_page.show_storage,
    "/operations/archive": operations_page.show_archive,
    "/operations/verify": operations_page.show_verification,
    "/operations/tokens": operations_page.show_tokens,
    "/operations/audit": operations_page.show_audit,
}
"""What is looked at."""

CHANGES: dict[str, tuple[str, Page]] = {
    "/sign-out": (READ, signing_in.sign_out),
    "/theme": (READ, signing_in.choose_theme),
    "/sample": (WRITE, sample.make),
    "/sample/remove": (ADMIN, sample.remove),
    "/alerts/{alert_id}/acknowledge": (WRITE, operations_page.acknowledge),
    "/operations/archive/run": (ADMIN, operations_page.archive_now),
    "/operations/tokens/revoke": (ADMIN, operations_page.revoke_token),
    "/sessions/{instance_id}/close": (WRITE, changes.close),
    "/sessions/{instance_id}/stale": (WRITE, changes.stale),
    "/sessions/{instance_id}/checkpoint": (WRITE, changes.checkpoint),
    "/sessions/{instance_id}/resume": (WRITE, changes.resume),
    "/sessions/{instance_id}/hold": (ADMIN, changes.hold),
    "/sessions/{instance_id}/release": (ADMIN, changes.release),
}
"""What a form changes, and the scope that it needs."""

_FOREVER = "public, max-age=31536000, immutable"


class Dashboard:
    """The pages of one server. `running` opens what they share."""

    def __init__(self, settings: Settings, sign_ins: SignIns) -> None:
        self._settings, self._sign_ins = settings, sign_ins
        self._templates = Templates(threshold=settings.context_threshold_percent)
        self._client = AsyncSessionContinuity(settings)
        self._feed = Feed(self._client, self._templates)

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        return [
            *(Route(path, self._shown(page), methods=["GET"]) for path, page in PAGES.items()),
            *(Route(path, self._changed(*change), methods=["POST"]) for path, change in CHANGES.items()),
            Route("/live", self._live, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["GET", "POST"]),
            Route("/static/{digest}/{name}", self._static, methods=["GET"]),
        ]

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """While it lasts the pages have a database."""
        async with self._client, self._feed.running():
            yield

    def end(self) -> None:
        """End the streams of open pages, so that the server can stop."""
        self._feed.end()

    def _visit(self, request: Request, viewer: Viewer | None) -> Visit:
        projects = None if viewer is None else viewer.projects
        client = self._client if projects is None else LimitedClient(self._client, projects)
        return Visit(
            request=request, viewer=viewer, client=client, settings=self._settings, templates=self._templates,
            sign_ins=self._sign_ins, feed=self._feed,
        )  # fmt: skip

    @staticmethod
    def _viewer(request: Request) -> Viewer | None:
        # A request with a token is a program's: it has none.
        return getattr(request.state, "viewer", None)

    def _shown(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def shown(request: Request) -> Response:
            visit = self._visit(request, self._viewer(request))
            if visit.viewer is None:
                return visit.page("sign_in_needed.html", http_status=401)
            try:
                return await page(visit)
            except SessionContinuityError as error:
                return _failed(visit, error)

        return shown

    def _changed(self, scope: str, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def changed(request: Request) -> Response:
            visit = self._visit(request, self._viewer(request))
            if visit.viewer is None:
                return visit.page("sign_in_needed.html", http_status=401)
            try:
                async with request.form(**CHANGE_LIMITS) as form:
                    fields = {name: text for name, text in form.items() if isinstance(text, str)}
                if not visit.viewer.made(fields.get("csrf", "")):
                    raise Forbidden("this form is of another sign-in; load the page again", code="form_token")
                if scope not in visit.viewer.scopes:
                    raise Forbidden(f"this needs the scope {scope}", code="scope_missing", scope=scope)
                return await page(visit.with_form(fields))
            except SessionContinuityError as error:
                return _failed(visit, error)

        return changed

    async def _live(self, request: Request) -> Response:
        viewer = self._viewer(request)
        if viewer is None:
            return Response(status_code=401, headers=HEADERS)
        return stream(self._feed, viewer, lambda: self._sign_ins.find(viewer.secret) is not None)

    async def _sign_in(self, request: Request) -> Response:
        return await signing_in.sign_in(self._visit(request, None))

    async def _static(self, request: Request) -> Response:
        file = self._templates.static.get(request.url.path)
        if file is None:
            return answer("no such file", 404, request.headers, media_type="text/plain")
        headers = {**HEADERS, "Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
        if takes_gzip(request.headers):
            return Response(file.packed, 200, {**headers, "Content-Encoding": "gzip"}, file.media_type)
        return Response(file.plain, 200, headers, file.media_type)


def _failed(visit: Visit, error: SessionContinuityError) -> Response:
    return visit.page(
        "error.html", http_status=status_of(error), message=error.message, missing=isinstance(error, NotFound)
    )
