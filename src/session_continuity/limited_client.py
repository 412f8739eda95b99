"""The client for someone who may see some projects alone."""

from __future__ import annotations

from typing import TypeVar

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.domain.event_store import Appended, PreparedAppend
from session_continuity.domain.operation import Operation
from session_continuity.domain.project_view import within

T = TypeVar("T")


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
