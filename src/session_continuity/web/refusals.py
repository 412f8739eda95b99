"""What a request is refused with: a status, and the same error document on every route."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from session_continuity.domain.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    SessionContinuityError,
    Unavailable,
)

_FAMILIES: tuple[tuple[type[SessionContinuityError], int], ...] = (
    (InvalidInput, 422),
    (NotFound, 404),
    (Forbidden, 403),
    (Unavailable, 503),
    (Conflict, 409),
)


class RefusedRequest(Exception):
    """The request is refused before its route did anything. `headers` go into the answer."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def response(self) -> JSONResponse:
        """The answer that says so."""
        names = {name.replace("_", "-"): value for name, value in self.headers.items()}
        return JSONResponse({"error": self.code, "message": self.message}, self.status, headers=names)


def bearer_challenge(resource_metadata: str | None, **parts: str) -> str:
    """The WWW-Authenticate of a refused token (RFC 6750), with where OAuth's clients read on (RFC 9728)."""
    if resource_metadata is not None:
        parts["resource_metadata"] = resource_metadata
    return " ".join(["Bearer", ", ".join(f'{name}="{part}"' for name, part in parts.items())]).strip()


async def answer_refusal(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    """The exception handler for RefusedRequest."""
    assert isinstance(error, RefusedRequest)  # noqa: S101
    return error.response()


async def answer_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    """The exception handler for the errors of the product, a status for each family."""
    assert isinstance(error, SessionContinuityError)  # noqa: S101
    return JSONResponse(_plain(error.as_json()), status_of(error))


def status_of(error: SessionContinuityError) -> int:
    """The HTTP status of an error's family."""
    return next((status for family, status in _FAMILIES if isinstance(error, family)), 500)


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | int | float | bool | None) else str(value)
        for name, value in document.items()
    }
