"""Every page: no complaint of the browser, nothing that axe finds, nothing wider than the screen, in light and
dark, wide and narrow; and nothing hostile that comes to life."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect
from tests.dashboard.conftest import Shown, Watched, needs_chromium

pytestmark = needs_chromium
once = pytest.mark.parametrize("server", ["embedded"], indirect=True)
"""Over one server: what a page looks like does not depend on it."""

PAGES = {
    "sessions": "/",
    "sessions as a tree": "/?view=tree&sort=context",
    "sessions, none found": "/?q=no-such-thing",
    "timeline": "/sessions/{main}",
    "timeline of hostile texts": "/sessions/{hostile}",
    "timeline of one that was taken over": "/sessions/{old}",
    "failed commands of a timeline": "/sessions/{main}?kind=command&outcome=failure",
    "entry": "/sessions/{main}/entries/command/{command}",
    "hostile entry": "/sessions/{hostile}/entries/event/3",
    "work state": "/sessions/{main}/state",
    "hostile work state": "/sessions/{hostile}/state",
    "what changed": "/sessions/{main}/state?as_of=20&from=3",
    "activity": "/sessions/{main}/activity",
    "hostile activity": "/sessions/{hostile}/activity",
    "checkpoints": "/sessions/{main}/checkpoints",
    "hostile checkpoints": "/sessions/{hostile}/checkpoints",
    "resume": "/sessions/{main}/resume",
    "hostile resume": "/sessions/{hostile}/resume",
    "resume of one that was taken over": "/sessions/{old}/resume",
    "confirm": "/sessions/{main}/confirm?change=hold",
    "search": "/search?q=total*",
    "hostile search": "/search?q=script",
    "search of nothing": "/search",
    "failed commands": "/search?kind=command&outcome=failure",
    "alerts": "/operations?all=1",
    "storage": "/operations/storage",
    "archive": "/operations/archive",
    "verify": "/operations/verify",
    "tokens": "/operations/tokens",
    "audit": "/operations/audit",
    "connect": "/connect",
    "not found": "/sessions/nobody-PS-000000",
}
LOOKS = {"light and wide": ("light", 1440), "dark and narrow": ("dark", 390)}


def address(shown: Shown, name: str) -> str:
    return shown.served.url + PAGES[name].format(**vars(shown.fleet))


@once
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_complains_of_nothing_and_axe_finds_nothing(
    looking: tuple[Page, Watched], shown: Shown, name: str, look: str
) -> None:
    scheme, width = LOOKS[look]
    visitor, watched = looking
    watched.complaints.clear()
    watched.expected = ["404"] if name == "not found" else []
    visitor.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    visitor.set_viewport_size({"width": width, "height": 900})
    visitor.goto(address(shown, name))
    visitor.wait_for_selector("[data-link-text]:text('live')")
    assert visitor.evaluate("document.documentElement.scrollWidth") <= width
    assert visitor.evaluate("window.taken") is None
    found = Axe().run(visitor)
    assert found.violations_count == 0, found.generate_report()
    watched.check()


def test_every_address_of_the_dashboard_is_looked_at() -> None:
    from session_continuity.web.dashboard.dashboard import PAGES as ROUTES

    shapes = set[str]()
    for path in PAGES.values():
        shape = path.split("?")[0].replace("/command/{command}", "/{kind}/{reference:int}")
        shapes.add(re.sub(r"\{(main|hostile|old)\}|nobody-PS-000000", "{instance_id}", shape))
    not_pages = {"/sessions/{instance_id}/export", "/sessions/{instance_id}/checkpoints/{checkpoint_id}"}
    assert ROUTES.keys() - not_pages <= shapes


@once
def test_the_first_page_is_light(visitor: Page, shown: Shown) -> None:
    """At most 40 KB in at most 4 requests, the stream of changes among them."""
    session = visitor.context.new_cdp_session(visitor)
    session.send("Network.enable")
    session.send("Network.clearBrowserCache")
    received: dict[str, int] = {}
    asked: dict[str, str] = {}
    later: set[str] = set()

    def see(event: dict[str, Any]) -> None:
        # What came meanwhile an open page asks for as a fragment, half a second after the stream has begun.
        if "X-Fragment" in event["request"]["headers"]:
            later.add(event["requestId"])
        else:
            asked[event["requestId"]] = event["request"]["url"]

    session.on("Network.requestWillBeSent", see)
    session.on(
        "Network.loadingFinished",
        lambda event: received.__setitem__(event["requestId"], event["encodedDataLength"]),
    )
    visitor.goto(f"{shown.served.url}/")
    visitor.wait_for_selector("[data-link-text]:text('live')")
    assert len([url for url in asked.values() if not url.endswith(".svg")]) <= 4, asked
    assert sum(size for key, size in received.items() if key not in later) <= 40_000, received


@once
def test_no_page_is_shown_in_a_frame_of_another(visitor: Page, shown: Shown, watched: Watched) -> None:
    """Not even of our own origin. The frame without the headers, beside it, is the control."""
    watched.expected = [""]
    base = shown.served.url

    def answer(body: str, route: Route) -> None:
        route.fulfill(body=body, content_type="text/html")

    frames = f"<iframe src='{base}/sign-in'></iframe><iframe src='{base}/plain'></iframe>"
    for path, body in (("framing", frames), ("plain", "<h1>plain</h1>")):
        visitor.route(f"{base}/{path}", partial(answer, body))
    visitor.goto(f"{base}/framing")
    _, ours, plain = visitor.frames
    expect(plain.locator("h1")).to_have_text("plain")
    assert ours.url.startswith("chrome-error:")
    assert ours.locator("h1:text('Sign in')").count() == 0


@once
def test_an_exported_page_is_whole_and_runs_nothing(shown: Shown, visitor: Page, tmp_path: Path) -> None:
    for session in (shown.fleet.main, shown.fleet.hostile):
        with visitor.expect_download() as download:
            visitor.goto(f"{shown.served.url}/sessions/{session}")
            visitor.click("text=Export HTML")
        file = tmp_path / "session.html"
        download.value.save_as(file)
        visitor.goto(file.as_uri())
        assert visitor.evaluate("window.taken") is None
        assert visitor.locator(".timeline > li").count() == len(shown.client.get_timeline(session, limit=1_000))
        visitor.locator(".timeline > li > details > summary").nth(2).click()
        assert visitor.locator(".timeline > li > details[open] > .detail > .tree").first.is_visible()


@once
def test_what_hides_in_a_text_is_shown(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/sessions/{shown.fleet.hostile}")
    text = visitor.inner_text("main")
    assert "\\x1b[31mred" in text
    assert "\\u202e" in text
    assert "\u202e" not in text
    assert "\x1b" not in text
