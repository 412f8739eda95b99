"""What the caller of a request may do.

A permission belongs to one request: it is set where the request comes in and found again in every tool, resource
and prompt that answers it. A process on standard input has the rights of its user, and none is asked for.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from session_continuity.domain.errors import Forbidden

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
