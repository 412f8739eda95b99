"""The life line of an agent: while the server that it started lives, so do its sessions.

Which sessions these are is read from the registry each time, by the agent's process: those that its hooks have
opened, and those that were registered or gone on with through this server. So nothing has to be remembered here,
and a server that is started again goes on. Nothing is closed when the server ends: an agent that ends in order
says so (close_session, or its hook); of any other the process is gone, and that shows in the registry.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.deployment import Deployment
from session_continuity.domain.errors import SessionContinuityError
from session_continuity.domain.process_sessions import PROCESS
from session_continuity.domain.session_registry import Session
from session_continuity.processes import Process, client_process, is_running

_log = logging.getLogger(__name__)


class LifeLine:
    """Sends the heartbeats of what a process runs."""

    def __init__(self, client: AsyncSessionContinuity, process: Process) -> None:
        self._client = client
        self._process = process
        self._deployment = Deployment(client.settings)

    async def process_of_new(self, instance_type: str, parent_instance_id: str | None = None) -> Process | None:
        """The process of a session that is registered, resumed or forked through this server: the agent's own,
        unless the session is for another agent: a child of a session that runs here, or a project supervisor that
        a meta supervisor starts. Raises Unavailable."""
        running = await self._running()
        if any(session.instance_id == parent_instance_id for session in running):
            return None
        if instance_type == "PS" and any(session.instance_type == "MS" for session in running):
            return None
        return self._process

    async def keep(self) -> None:
        """Beat for as long as the agent's process runs. A database that is away is waited for; no failure gets
        out."""
        while await asyncio.to_thread(is_running, self._process):
            pause = self._client.settings.heartbeat_seconds
            try:
                pause = await self._beat()
            except SessionContinuityError as error:
                _log.debug("no heartbeat: %s", error.message)
            except Exception:
                _log.exception("no heartbeat")
            await asyncio.sleep(pause)

    async def _beat(self) -> float:
        """One heartbeat for each session; returns the seconds until the next. A database that was stopped is left
        so: it is not for a heartbeat to start it."""
        pause = self._client.settings.heartbeat_seconds
        if not await asyncio.to_thread(self._deployment.is_up):
            return pause
        running = await self._running()
        if running:
            await self._client.send_heartbeats([session.instance_id for session in running])
        return min([pause, *(each.heartbeat_interval_seconds or pause for each in running)])

    async def _running(self) -> list[Session]:
        return await self._client.find_process_sessions(
            socket.gethostname(), self._process.pid, self._process.started
        )


def find_life_line(client: AsyncSessionContinuity) -> LifeLine | None:
    """That of the agent that started this process; None when it is gone already."""
    process = client_process()
    return None if process is None else LifeLine(client, process)


@asynccontextmanager
async def hold(life_line: LifeLine | None) -> AsyncGenerator[None]:
    """Beat in the background meanwhile."""
    if life_line is None:
        yield
        return
    beating = asyncio.create_task(life_line.keep())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


def marked(process: Process | None) -> dict[str, Any]:
    """The process in the metadata of its session."""
    return {} if process is None else {PROCESS: process.as_json()}
