"""What the caller of a request may do, and the client that keeps it to that.

A permission belongs to one request: it is set where the request comes in and found again in every tool, resource
and prompt that answers it. A process on standard input has the rights of its user, and none is asked for.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.domain.errors import Forbidden
from session_continuity.domain.event_store import Appended, PreparedAppend
from session_continuity.domain.operation import Operation
from session_continuity.domain.project_view import within

T = TypeVar("T")

READ, WRITE = "read", "write"


@dataclass(frozen=True, slots=True)
class Permission:
    """`scopes` with those that they include; `projects` None: all."""

    scopes: frozenset[str]
    projects: frozenset[str] | None


_current: ContextVar[Permission | None] = ContextVar("permission", default=None)


@contextmanager
def permitted(permission: Permission) -> Generator[None]:
    """Whatever is asked inside is asked with this permission."""
    before = _current.set(permission)
    try:
        yield
    finally:
        _current.reset(before)


def require(scope: str) -> Permission:
    """The permission of this request. Raises Forbidden (scope_missing) without that scope."""
    permission = _current.get()
    if permission is None:
        raise Forbidden("the request came without a permission")
    if scope not in permission.scopes:
        has = ", ".join(sorted(permission.scopes)) or "none"
        raise Forbidden(f"this needs the scope {scope}; the token has {has}", code="scope_missing", scope=scope)
    return permission


class LimitedClient(AsyncSessionContinuity):
    """The client for someone who may see some projects alone. Whoever opened the whole one closes it."""

    def __init__(self, whole: AsyncSessionContinuity, projects: frozenset[str]) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.settings = whole.settings
        self._whole, self._projects = whole, projects

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation of the domain among these projects."""
        return await self._whole.run(within(self._projects, operation))

    async def append_prepared(self, append: PreparedAppend) -> Appended:
        """Append to a session of these projects; for any other the error is that of one that is not there."""
        await self.get_session(append.instance_id)
        return await self._whole.append_prepared(append)

    async def close(self) -> None:
        """Nothing of its own is open."""
