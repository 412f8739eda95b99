"""The resident process: drains the spool into the database, takes captures of other machines, answers agents over
HTTP and people with the dashboard, or forwards the spool to where that is done."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

import structlog
import uvicorn
from starlette.applications import Starlette

from session_continuity.capture.facts.facts import JSON
from session_continuity.capture.serving import LOG_FILE, LOG_FOLDER
from session_continuity.capture.spool.drain import Rejected, drain
from session_continuity.capture.spool.forwarding import Destination, Forwarder, this_host
from session_continuity.capture.spool.spool import Spool, SpoolRecord, open_spool
from session_continuity.capture.spool.watch import Condition, SpoolWatch
from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import Conflict, InvalidInput, Refused, SessionContinuityError, Unavailable
from session_continuity.resident_log import open_log
from session_continuity.resident_process import Residence, residence
from session_continuity.resident_services import waiting_records, wanted_services
from session_continuity.services.runner import Runner
from session_continuity.settings import Settings
from session_continuity.web.access import Access, checked_hosts
from session_continuity.web.app import create_app
from session_continuity.web.capture_route import Keep, ReceivedRecord, capture_route
from session_continuity.web.connections import BoundedConnection
from session_continuity.web.dashboard.dashboard import Dashboard
from session_continuity.web.mcp_route import McpRoute
from session_continuity.web.metrics import metrics_route
from session_continuity.web.oauth import oauth_issuer
from session_continuity.web.sign_in import SignIns
from session_continuity.web.tokens import TokenFile

USUAL_PORT = 27_182
"""Taken when no port is asked for; when another user's server has it, any free one is."""

_LOOK_SECONDS = 5.0
"""Between two looks at an idle spool (its capacity, drafts of killed hooks) and at the running sessions."""

_PROBE_SECONDS = 2.0
"""For the database to answer somebody who asks whether it does, or for figures: less than any of them waits."""
_STOP_SECONDS = 3.0
_MOMENT = 0.3
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Capture(Protocol):
    """What becomes of captured records: LiveCapture, or what a test puts in its place."""

    def store(self, records: Sequence[SpoolRecord]) -> Sequence[Rejected | None]:
        """As `drain` wants it."""
        ...

    def watch(self) -> None:
        """One look at the running sessions, while nothing waits. Raises Unavailable."""
        ...


def serve(
    settings: Settings,
    *,
    open_capture: Callable[[SessionContinuity], Capture] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Be the resident server of the settings' home until SIGTERM or SIGINT; `ready` hears its URL.

    Raises Conflict when there is one, Refused for an address beyond loopback without tokens and allowed hosts, and
    InvalidInput for an address that can't be used.
    """
    with residence(settings.home) as held:
        os.umask(0o077)
        tokens = TokenFile(settings.home)
        sign_ins = SignIns(settings.home)
        hosts = _hosts(settings)
        oauth = oauth_issuer(settings)
        listener = _listen(settings, exposed_when=bool(hosts) and (tokens.exist() or oauth is not None))
        spool = open_spool(settings)
        open_log(_log_file(settings.home))
        url, port = _url(listener)
        probing = replace(settings, deadline_seconds=_PROBE_SECONDS, connections=2)
        with SessionContinuity(settings) as client, SessionContinuity(probing) as probe:
            work = _Drain(client, spool, (open_capture or _live_capture)(client))
            watch = SpoolWatch(_at_home(held, work), _teller(held))
            services = Runner(client, wanted_services(settings))
            mcp = McpRoute(settings)
            dashboard = Dashboard(settings, sign_ins)

            @asynccontextmanager
            async def lifespan(app: Starlette) -> AsyncGenerator[None]:  # noqa: ARG001
                held.announce("serve", url)
                _log.info("started", url=url, pid=os.getpid())
                watch.start()
                services.start()
                if ready is not None:
                    ready(url)
                async with mcp.running(), dashboard.running():
                    yield
                services.stop(0)  # all end at once
                if not watch.stop(_STOP_SECONDS):
                    _log.warning("stopped_in_the_middle", waits="the records that it dealt with wait in the spool")
                services.stop(_MOMENT)

            app = create_app(
                Access(
                    port=port,
                    hosts=hosts,
                    tokens=tokens,
                    requests_per_second=settings.serve_requests_per_second,
                    oauth=oauth,
                    sign_ins=sign_ins,
                ),
                routes=[
                    capture_route(keep_in(spool)),
                    mcp.route(),
                    *([oauth.route()] if oauth else []),
                    metrics_route(probe, partial(waiting_records, settings)),
                    *dashboard.routes(),
                ],
                is_well=watch.is_alive,
                why_not_ready=_Readiness(probe),
                lifespan=lifespan,
            )
            server = http_server(app)
            # uvicorn repeats the signal when it has ended: the default handler would kill us in the middle of
            # tidying up.

            def end() -> None:
                server.should_exit = True
                dashboard.end()

            _on_end(end)
            server.run(sockets=[listener])
        _log.info("stopped")


def forward(
    settings: Settings,
    destination: Destination,
    *,
    redact: Callable[[JSON], JSON],
    ready: Callable[[str], None] | None = None,
) -> None:
    """Be the resident process of the settings' home that sends its spool elsewhere, until SIGTERM or SIGINT.

    Raises Conflict when there is a resident process, or another one drains the spool and does not end.
    """
    stopping = threading.Event()
    _on_end(stopping.set)
    with residence(settings.home) as held:
        os.umask(0o077)
        spool = open_spool(settings)
        open_log(_log_file(settings.home))
        # For as long as it lives: a hook that drained would put the records into a database of this machine.
        with spool.locked(settings.deadline_seconds) as alone:
            if not alone:
                raise Conflict("another process drains the spool and does not end", code="spool_locked")
            forwarder = Forwarder(spool, destination, host=this_host(), redact=redact)
            watch = SpoolWatch(_at_home(held, forwarder.send_batch), _teller(held))
            held.announce("forward", destination.url)
            _log.info("started", forwards_to=destination.url, pid=os.getpid())
            watch.start()
            if ready is not None:
                ready(destination.url)
            stopping.wait()
            watch.stop(_STOP_SECONDS)
        _log.info("stopped")


class _Readiness:
    """Asks the database; one answer serves whoever asks within a second."""

    def __init__(self, client: SessionContinuity) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._until = 0.0

    def __call__(self) -> str | None:
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._client.find_sessions(limit=1)
                    self._reason = None
                except SessionContinuityError as error:
                    self._reason = error.stable_code
                self._until = time.monotonic() + 1.0
            return self._reason


class _Drain:
    """One batch out of the spool, whenever something waits; now and then a look at spool and sessions."""

    def __init__(self, client: SessionContinuity, spool: Spool, capture: Capture) -> None:
        self._client, self._spool, self._capture = client, spool, capture
        self._failure: SessionContinuityError | None = None
        self._next_look = 0.0
        self._lost = 0
        self._reached = False

    def __call__(self) -> bool:
        if not self._reached:
            self._client.find_sessions(limit=1)  # starts the embedded server
            self._reached = True
        look = time.monotonic() >= self._next_look
        if not (look or self._spool.names()):
            return False
        self._failure = None
        report = drain(self._spool, self._store, until_empty=False)
        if report.quarantined:
            _log.warning("quarantined", records=report.quarantined, see="continuity spool list")
        if report.spool is not None:
            if report.spool.lost > self._lost:
                _log.error("lost", records=report.spool.lost, see="continuity spool list")
            self._lost = report.spool.lost
        if self._failure is not None:
            raise self._failure
        if report.spool is None or report.spool.waiting > 0:
            return report.spool is not None
        if look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            self._capture.watch()
        return False

    def _store(self, records: Sequence[SpoolRecord]) -> Sequence[Rejected | None]:
        try:
            return self._capture.store(records)
        except (Unavailable, Refused) as error:
            self._failure = error
            raise


def _live_capture(client: SessionContinuity) -> Capture:
    from session_continuity.capture.recorder.live import LiveCapture
    from session_continuity.capture.redaction.redaction import Redactor

    return LiveCapture(client, redact=Redactor(client.settings).redact)


def keep_in(spool: Spool) -> Keep:
    """What the capture route puts its records with."""

    def keep(record: ReceivedRecord) -> None:
        spool.put(
            record.harness,
            record.event,
            record.payload,
            client_pid=record.client_pid,
            host=record.host,
            captured_at=record.captured_at,
            name=record.name,
            flush=True,
        )

    return keep


def _at_home(held: Residence, work: Callable[[], bool]) -> Callable[[], bool]:
    """The work, and the end of this process when its data folder is gone."""

    def at_home() -> bool:
        if held.is_lost():
            _log.warning("data_folder_gone")
            os.kill(os.getpid(), signal.SIGTERM)
            return False
        return work()

    return at_home


def _teller(held: Residence) -> Callable[[Condition], None]:
    def tell(condition: Condition) -> None:
        if condition.state == "working":
            _log.info("working")
        else:
            _log.error(condition.state, reason=condition.reason, exc_info=condition.error)
        try:
            held.tell(condition)
        except OSError as error:
            _log.error("state_not_written", reason=error.strerror)

    return tell


def _hosts(settings: Settings) -> frozenset[str]:
    try:
        return checked_hosts(settings.serve_hosts)
    except ValueError as error:
        raise InvalidInput(f"serve_hosts: {error}", code="settings") from None


def _listen(settings: Settings, *, exposed_when: bool) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.serve_host, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InvalidInput(
            f"{settings.serve_host} is no address of this machine: {error.strerror}", code="address"
        ) from None
    host = str(address[0])
    if not (ipaddress.ip_address(host.partition("%")[0]).is_loopback or exposed_when):
        raise Refused(
            f"{host} can be reached by other machines: create a token first (continuity tokens create), and"
            " name the hosts under which it is asked (--allow-host NAME)",
            code="exposed",
        )
    wanted = settings.serve_port or USUAL_PORT
    try:
        try:
            return socket.create_server((host, wanted), family=family)
        except OSError as error:
            if settings.serve_port or error.errno != errno.EADDRINUSE:
                raise
            return socket.create_server((host, 0), family=family)
    except OSError as error:
        raise InvalidInput(f"can't listen on {host}, port {wanted}: {error.strerror}", code="address") from None


def _url(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}", port


def http_server(app: Starlette) -> uvicorn.Server:
    """The HTTP server of an application, with the limits of its connections."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedConnection,
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )


def _on_end(do: Callable[[], None]) -> None:
    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        do()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _log_file(home: Path) -> Path:
    return home / LOG_FOLDER / LOG_FILE
