"""The ASGI application: its routes, its lifespan and its access rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from session_continuity.domain.errors import SessionContinuityError
from session_continuity.web.access import Access, AccessRules
from session_continuity.web.refusals import RefusedRequest, answer_error, answer_refusal

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(
    access: Access, *, routes: Sequence[BaseRoute], is_well: Callable[[], bool], lifespan: Lifespan
) -> Starlette:
    """The application with these routes behind the access rules, and `GET /healthz`, which says whether `is_well`.

    `lifespan` begins and ends what works beside the requests. A route that needs more than a valid token asks for
    it with `require_scope`.
    """

    async def healthz(request: Request) -> JSONResponse:  # noqa: ARG001
        well = is_well()
        return JSONResponse({"status": "ok" if well else "failing"}, 200 if well else 503)

    return Starlette(
        routes=[Route("/healthz", healthz), *routes],
        middleware=[Middleware(AccessRules, access=access)],
        exception_handlers={
            RefusedRequest: answer_refusal,
            SessionContinuityError: answer_error,
            ClientDisconnect: _answer_nobody,
        },
        lifespan=lifespan,
    )


async def _answer_nobody(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return Response(status_code=400)
