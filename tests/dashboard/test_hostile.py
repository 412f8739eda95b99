"""Thousands of hostile lines in every field that a page shows: none comes to life."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from playwright.sync_api import Page
from tests.dashboard.conftest import Served, Watched, needs_chromium
from tests.dashboard.fleet import fill
from tests.dashboard.test_session import LIVE

from session_continuity import NewCommand, SessionContinuity
from session_continuity.domain.session_registry import Origin

pytestmark = needs_chromium

RUN = ("window.taken=1", "top.window.taken=1", "eval('window.taken=1')", "fetch('/sign-out',{method:'POST'})")
HANDLERS = ("onerror", "onload", "onclick", "onmouseover", "onfocus", "ontoggle", "onanimationstart", "onbegin")
TAGS = (
    "img src=x",
    "svg",
    "body",
    "details open",
    "iframe src=javascript:0",
    "input autofocus",
    "video src=x",
    "a href=#",
)
BREAKS = (
    "",
    "'>",
    '">',
    "-->",
    "</title>",
    "</textarea>",
    "</style>",
    "</script>",
    "]]>",
    "`",
    "\\",
    "\u2028",
    "\x00\u202e",
)
SHAPES = (
    "<script>{run}</script>", "<script src=data:text/javascript,{run}></script>", "javascript:{run}",
    "<a href='javascript:{run}'>x</a>", "<form action=javascript:{run}><button>x", "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=javascript:{run}'>", "<style>@import 'javascript:{run}';</style>",
    "<math><mi xlink:href='javascript:{run}'>x", "<object data='javascript:{run}'>", "<svg><script>{run}</script>",
    "&lt;script&gt;{run}&lt;/script&gt;", "\\u003cscript\\u003e{run}\\u003c/script\\u003e",
    "{{{{{run}}}}}", "${{{run}}}",
    "\x1b]8;;javascript:{run}\x07x\x1b]8;;\x07", "\u202e>tpircs/<{run}>tpircs<", "<scr\x00ipt>{run}</scr\x00ipt>",
)  # fmt: skip


def lines() -> list[str]:
    shaped = [begin + shape.format(run=run) for begin, shape, run in product(BREAKS, SHAPES, RUN)]
    handled = [f"{begin}<{tag} {on}={run}>" for begin, tag, on, run in product(BREAKS, TAGS, HANDLERS, RUN[:2])]
    return [line.replace("\x00", "") for line in (*shaped, *handled)]


def test_there_are_thousands() -> None:
    assert len(set(lines())) > 2_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_none_of_thousands_of_hostile_lines_comes_to_life(
    page: Page, served: Served, client: SessionContinuity
) -> None:
    every = lines()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    session = client.register_session(
        "bank",
        current_epic=every[0][:200],
        origin=Origin(cwd="\n".join(every)[:4_000], host=every[1], harness=every[2]),
    ).instance_id
    fill(client, session, {"text": "\n".join(every), "lines": every}, "\n".join(every[:40])[:1_500])
    for begin in range(0, len(every), 100):
        part = every[begin : begin + 100]
        client.append_event(session, "note_recorded", {"kind": part[0], "text": "\n".join(part), part[1]: part})
        client.record_command(
            session,
            NewCommand(
                command_type=part[0][:100], tool_name=part[1][:100], action=part[2], outcome="failure",
                parameters={line: line for line in part} | {"file_path": part[3], "content": "\n".join(part)},
                result=part, error_message="\n".join(part), tags=[part[4]], context_data={part[5]: part},
            ),
        )  # fmt: skip
    client.take_checkpoint(session, reason=every[7][:400])
    while client.index_records(all_sessions=True).more:
        pass
    base = f"{served.url}/sessions/{session}"
    of_session = [f"{base}{part}" for part in ("", "/state", "/activity", "/checkpoints", "/resume")]
    of_all = [f"{served.url}{part}" for part in ("/", "/search?q=script", "/search?q=taken&kind=command")]
    for path in (*of_session, *of_all):
        page.goto(path)
        page.wait_for_selector(LIVE)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        page.wait_for_timeout(300)
        assert page.evaluate("window.taken") is None, path
        assert page.evaluate("document.documentElement.scrollWidth") <= 1_440, path
        assert dangerous(page) == [], path
    assert {url for url in asked if not url.startswith(served.url)} == set()
    assert served.ask("/", cookie=f"continuity_sign_in={cookie_of(page)}").status == 200, "nobody signed us out"


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_the_same_lines_come_to_life_where_nothing_is_escaped(page: Page, watched: Watched) -> None:
    """The control."""
    watched.expected = [""]
    page.goto("about:blank")
    page.set_content(
        "<body>" + "\n".join(line for line in lines() if "sign-out" not in line and "http" not in line)
    )
    page.wait_for_function("window.taken === 1")
    assert dangerous(page) != []


def dangerous(page: Page) -> list[Any]:
    """Elements that only a text could have made: scripts, frames, handlers, addresses that run."""
    return page.evaluate(
        """() => [...document.querySelectorAll('*')].filter((one) =>
            (one.tagName === 'SCRIPT' && !one.src.startsWith(location.origin + '/static/'))
            || ['IFRAME', 'OBJECT', 'EMBED', 'BASE', 'STYLE', 'VIDEO', 'IMG'].includes(one.tagName)
            || one.getAttributeNames().some((name) => name.startsWith('on'))
            || /^\\s*javascript:/i.test(one.getAttribute('href') || one.getAttribute('action') || '')
        ).map((one) => one.outerHTML.slice(0, 200))"""
    )


def cookie_of(page: Page) -> str:
    return next(one["value"] for one in page.context.cookies() if one["name"] == "continuity_sign_in")
