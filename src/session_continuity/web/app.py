"""The ASGI application: its routes, its lifespan and its access rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from session_continuity.domain.errors import SessionContinuityError
from session_continuity.web.access import Access, AccessRules
from session_continuity.web.refusals import RefusedRequest, answer_error, answer_refusal

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(
    access: Access,
    *,
    routes: Sequence[BaseRoute],
    is_well: Callable[[], bool],
    lifespan: Lifespan,
    why_not_ready: Callable[[], str | None] = lambda: None,
) -> Starlette:
    """The application with these routes behind the access rules, `GET /healthz`, which says whether `is_well`, and
    `GET /readyz`, which asks `why_not_ready`, in a thread: None when it is.

    `lifespan` begins and ends what works beside the requests. A route that needs more than a valid token asks for
    it with `require_scope`.
    """

    async def healthz(request: Request) -> JSONResponse:  # noqa: ARG001
        well = is_well()
        return JSONResponse({"status": "ok" if well else "failing"}, 200 if well else 503)

    async def readyz(request: Request) -> JSONResponse:  # noqa: ARG001
        reason = await run_in_threadpool(why_not_ready)
        return JSONResponse({"status": "ready"} if reason is None else {"status": "not_ready", "reason": reason},
                            200 if reason is None else 503)  # fmt: skip

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), *routes],
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
