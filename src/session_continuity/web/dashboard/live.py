"""The live feed: what changed, to every open page.

While a page is open the server looks at the latest sessions twice a second, once for all pages, and tells each
what differs. A page that is slow or was away is told the latest state of each session, not each step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson
import structlog
from starlette.responses import StreamingResponse

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.domain.errors import SessionContinuityError
from session_continuity.domain.health import MinuteCount, SystemHealth
from session_continuity.domain.overview import SessionNow
from session_continuity.web.dashboard.rendering import HEADERS, Templates
from session_continuity.web.sign_in import Viewer

LOOK_SECONDS = 0.5
FIGURES_SECONDS = 2.0
KEEP_ALIVE_SECONDS = 15.0
WATCHED = 300
"""Sessions that are looked at, the latest heartbeat first; a page that shows others asks for itself."""

CHART_MINUTES = 120
_SLOW_LOOKS = 10
"""While the database can't be reached, looks are this many times as far apart."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Listener:
    """An open page, or the worker of several: what it has not been told yet. `projects` None: it hears all."""

    projects: frozenset[str] | None
    hello: bool = False
    rows: dict[str, str] = field(default_factory=dict[str, str])
    figures: str | None = None
    trouble: bool | None = None
    something: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self) -> bytes:
        """Everything that it has not been told, as events of the stream."""
        self.something.clear()
        told = b""
        if self.trouble is not None:
            told += _event("trouble", self.trouble)
        if self.hello:
            told += _event("hello", None)
        if self.rows:
            told += _event("rows", self.rows)
        if self.figures is not None:
            told += _event("figures", self.figures)
        self.hello, self.rows, self.figures, self.trouble = False, {}, None, None
        return told


class Feed:
    """Looks while somebody listens."""

    def __init__(self, client: AsyncSessionContinuity, templates: Templates) -> None:
        self._client, self._templates = client, templates
        self._listeners: set[Listener] = set()
        self._waiting: set[Listener] = set()
        self._known: dict[str, SessionNow] = {}
        self._looked = False
        self._minutes: list[MinuteCount] = []
        self._minutes_at: datetime | None = None
        self._heard = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._trouble = False

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """While it lasts the feed looks."""
        self._loop = asyncio.get_running_loop()
        looking = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    def end(self) -> None:
        """End all streams, so that the server can stop; from a handler of signals, too."""
        self._ended = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake_all)

    @property
    def ended(self) -> bool:
        """Whether the server stops."""
        return self._ended

    def join(self, listener: Listener) -> None:
        """Tell this one from now on. Its `hello` comes when what is known is known: what it then asks for itself
        holds all that came before, and it is told all that comes after."""
        listener.trouble = self._trouble or None
        if self._looked:
            listener.hello = True
        else:
            self._waiting.add(listener)
        listener.something.set()
        self._listeners.add(listener)
        self._heard.set()

    def leave(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners.discard(listener)
        self._waiting.discard(listener)
        if not self._listeners:
            self._heard.clear()
            self._known, self._looked = {}, False

    async def figures(
        self, client: AsyncSessionContinuity, *, whole: bool
    ) -> tuple[SystemHealth, list[MinuteCount]]:
        """The figures of the fleet and its events by minute. Those of the whole fleet are counted on from the last
        time: minutes that are over change no more."""
        health = await client.get_system_health()
        if not whole:
            return health, await client.count_events_by_minute(CHART_MINUTES)
        fresh = self._minutes_at is None or health.checked_at - self._minutes_at > timedelta(minutes=5)
        counted = await client.count_events_by_minute(CHART_MINUTES if fresh else 7)
        kept = [] if fresh else [one for one in self._minutes if one.minute < counted[0].minute]
        self._minutes, self._minutes_at = [*kept, *counted][-CHART_MINUTES:], health.checked_at
        return health, self._minutes

    async def _look_on(self) -> None:
        next_figures = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            await self._heard.wait()
            began = clock()
            try:
                await self._look()
                if clock() >= next_figures:
                    next_figures = clock() + FIGURES_SECONDS
                    await self._look_at_figures()
                self._tell_trouble(False)
                pause = LOOK_SECONDS
            except SessionContinuityError as error:
                if not self._trouble:
                    _log.warning("feed_interrupted", reason=error.code)
                self._tell_trouble(True)
                pause = LOOK_SECONDS * _SLOW_LOOKS
            await asyncio.sleep(max(0.05, pause - (clock() - began)))

    async def _look(self) -> None:
        found = {now.session.instance_id: now for now in await self._client.get_overview(limit=WATCHED)}
        changed = [now for id, now in found.items() if self._known.get(id) != now] if self._looked else []
        self._known, self._looked = found, True
        for listener in self._waiting:
            listener.hello = True
            listener.something.set()
        self._waiting.clear()
        for now in changed:
            html = self._templates.html("session_row.html", {"now": now})
            for listener in self._listeners:
                if listener.projects is None or now.session.project in listener.projects:
                    listener.rows[now.session.instance_id] = html
                    listener.something.set()

    async def _look_at_figures(self) -> None:
        if not any(listener.projects is None for listener in self._listeners):
            return
        health, minutes = await self.figures(self._client, whole=True)
        html = self._templates.html("figures.html", {"health": health, "minutes": minutes})
        for listener in self._listeners:
            if listener.projects is None:
                listener.figures = html
                listener.something.set()

    def _wake_all(self) -> None:
        for listener in self._listeners:
            listener.something.set()

    def _tell_trouble(self, trouble: bool) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        for listener in self._listeners:
            listener.trouble = trouble
            listener.something.set()


def stream(feed: Feed, viewer: Viewer, is_valid: Callable[[], bool]) -> StreamingResponse:
    """The answer that goes on until the page is closed, the sign-in ends or the server stops."""

    async def events() -> AsyncIterator[bytes]:
        listener = Listener(viewer.projects)
        feed.join(listener)
        try:
            yield b"retry: 1000\n\n"
            while not feed.ended:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        await listener.something.wait()
                except TimeoutError:
                    if not is_valid():
                        return
                    yield b":\n\n"
                else:
                    yield listener.take()
        finally:
            feed.leave(listener)

    headers = {**HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), headers=headers, media_type="text/event-stream")


def _event(name: str, value: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
