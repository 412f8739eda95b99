"""Real pages: `continuity serve` as a process of its own, looked at with a real Chromium."""

from __future__ import annotations

import http.client
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from tests.conftest import RunningServer
from tests.dashboard.fleet import Fleet, make_fleet
from tests.resident.conftest import Residents, Running, residents, wait_until

from session_continuity import SessionContinuity
from session_continuity.web.sign_in import COOKIE, SignIns

__all__ = ["residents", "wait_until"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")


@dataclass
class Answer:
    """What an HTTP request without a browser got."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def csrf(self) -> str:
        """The token of the first form of the page."""
        return re.findall(r'name="csrf" value="([^"]+)"', self.text)[0]


@dataclass
class Served:
    """A server with its pages, and how to sign in to them."""

    running: Running
    database: str

    @property
    def url(self) -> str:
        return self.running.url

    def link(self, person: str = "Ada", scope: str = "admin", projects: tuple[str, ...] = ()) -> str:
        code = SignIns(self.running.home).create_link(person, scope=scope, projects=projects)
        return f"{self.url}/sign-in?{urlencode({'code': code})}"

    def cookie(self, person: str = "Ada", scope: str = "admin", projects: tuple[str, ...] = ()) -> str:
        """A sign-in without a browser."""
        sign_ins = SignIns(self.running.home)
        secret = sign_ins.redeem(sign_ins.create_link(person, scope=scope, projects=projects))
        return f"{COOKIE}={secret}"

    def ask(self, path: str, *, cookie: str = "", form: dict[str, str] | None = None, **headers: str) -> Answer:
        """One request; with a form a POST, as the page itself would send it."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
        given = {"Cookie": cookie, **{name.replace("_", "-"): text for name, text in headers.items()}}
        body = None
        if form is not None:
            body = urlencode(form)
            given = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.url, **given}
        try:
            connection.request("GET" if form is None else "POST", path, body, given)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return Answer(response.status, dict(response.getheaders()), content.decode(errors="replace"))

    def change(self, page: str, path: str, *, cookie: str, **fields: str) -> Answer:
        """Press a button of a page: its form's token is taken from there."""
        return self.ask(path, cookie=cookie, form={"csrf": self.ask(page, cookie=cookie).csrf, **fields})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one file of tests: while it is driven an event loop runs in this thread, and no other can."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@dataclass
class Watched:
    """What the pages of a test complained about."""

    complaints: list[str] = field(default_factory=list[str])
    expected: list[str] = field(default_factory=list[str])
    """Parts of complaints that a test provokes."""

    def watch(self, page: Page) -> Page:
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def check(self) -> None:
        left = [text for text in self.complaints if not any(part in text for part in self.expected)]
        assert left == []


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched()
    yield found
    found.check()


Open = Callable[..., Page]


def signed_in(browser: Browser, served: Served, watched: Watched, **sign_in: Any) -> tuple[BrowserContext, Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="Europe/Zurich")
    page = watched.watch(context.new_page())
    page.goto(served.link(**sign_in))
    page.wait_for_url(f"{served.url}/")
    return context, page


@pytest.fixture
def served(residents: Residents, database: str) -> Served:
    """A server on an empty database."""
    return Served(residents.serve(database, role="live"), database)


@pytest.fixture
def page(browser: Browser, served: Served, watched: Watched) -> Iterator[Page]:
    """A page that is signed in as an administrator; it must not complain."""
    context, found = signed_in(browser, served, watched)
    yield found
    context.close()


@dataclass
class Shown:
    """A server over a small fleet, for tests that only look: made once for a file of tests."""

    served: Served
    fleet: Fleet
    client: SessionContinuity


@pytest.fixture(scope="module")
def shown(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    name = server.create_database()
    dsn = server.conninfo(name)
    residents = Residents(tmp_path_factory.mktemp("shown"))
    try:
        with SessionContinuity(dsn=dsn) as client, psycopg.connect(dsn, autocommit=True) as connection:
            fleet = make_fleet(client, connection)
            yield Shown(Served(residents.serve(dsn, role="live"), dsn), fleet, client)
    finally:
        for process in residents.started:
            process.kill()
            process.communicate()
        server.drop_database(name)


@pytest.fixture(scope="module")
def looking(browser: Browser, shown: Shown) -> Iterator[tuple[Page, Watched]]:
    """A page over the small fleet that many tests share, and what it complains about."""
    watched = Watched()
    context, found = signed_in(browser, shown.served, watched)
    yield found, watched
    context.close()


@pytest.fixture
def visitor(browser: Browser, shown: Shown, watched: Watched) -> Iterator[Page]:
    """A page over the small fleet."""
    context, found = signed_in(browser, shown.served, watched)
    yield found
    context.close()
