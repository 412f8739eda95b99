"""A session's pages: the timeline in its window, the work state as of any event, and what is drawn."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.dashboard.conftest import Served, Shown, needs_chromium

from session_continuity import NewCommand, SessionContinuity

pytestmark = needs_chromium
LIVE = "[data-link-text]:text('live')"


def fill_stream(connection: Any, session: str, events: int) -> None:
    connection.execute(
        """INSERT INTO event_store
            (instance_id, event_type, sequence_num, event_data, timestamp, created_at, owner_epoch)
        SELECT %s, 'task_spawned', n, jsonb_build_object('description', 'task ' || n),
            now() - (%s - n) * interval '1 s', now() - (%s - n) * interval '1 s', 1
        FROM generate_series(2, %s) n""",
        (session, events, events, events),
    )
    connection.execute(
        "UPDATE event_store SET created_at = now() - %s * interval '1 s'"
        " WHERE instance_id = %s AND sequence_num = 1",
        (events, session),
    )
    connection.execute(
        "UPDATE supervisor_sessions SET last_sequence_num = %s, status = 'closed' WHERE instance_id = %s",
        (events, session),
    )


def keys(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('[data-cursor]')].map((entry) => entry.id)")


def scroll_to_the_end(page: Page, last: str) -> int:
    """Scrolls until that entry is in the document; the most entries that were in it at a time."""
    most = 0
    for _ in range(400):
        shown = keys(page)
        most = max(most, len(shown))
        if last in shown:
            return most
        page.mouse.wheel(0, 4_000)
        page.wait_for_timeout(25)
    raise AssertionError(f"{last} was not reached; {keys(page)[-1]} was")


def test_a_long_timeline_is_read_to_its_end_and_back_in_a_window(
    page: Page, served: Served, client: SessionContinuity, connection: Any
) -> None:
    session = client.register_session("shop").instance_id
    fill_stream(connection, session, 1_200)
    page.goto(f"{served.url}/sessions/{session}")
    page.wait_for_selector(LIVE)
    assert keys(page)[0] == "event-1200"
    assert scroll_to_the_end(page, "event-1") < 100
    shown = keys(page)
    assert shown == [f"event-{number}" for number in range(len(shown), 0, -1)]
    for _ in range(400):
        if "event-1200" in keys(page):
            break
        page.mouse.wheel(0, -4_000)
        page.wait_for_timeout(25)
    shown = keys(page)
    assert shown == [f"event-{number}" for number in range(1_200, 1_200 - len(shown), -1)]


@pytest.mark.faults
def test_a_hundred_thousand_entries_open_at_once_and_stay_in_their_window(
    page: Page, served: Served, client: SessionContinuity, connection: Any
) -> None:
    session = client.register_session("shop").instance_id
    fill_stream(connection, session, 100_000)
    began = time.monotonic()
    page.goto(f"{served.url}/sessions/{session}")
    page.wait_for_selector("#event-100000")
    opened = time.monotonic() - began
    page.wait_for_selector(LIVE)
    most = 0
    for _ in range(200):
        page.mouse.wheel(0, 3_000)
        page.wait_for_timeout(20)
        most = max(most, len(keys(page)))
    assert most < 100
    assert "event-100000" not in keys(page)
    page.click("text=Oldest")
    page.wait_for_selector("#event-1")
    print(f"\n100,000 entries: first rows after {opened:.2f} s, at most {most} in the document")


def test_new_entries_come_by_themselves(page: Page, served: Served, client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    page.goto(f"{served.url}/sessions/{session}")
    page.wait_for_selector(LIVE)
    client.append_event(session, "note_recorded", {"kind": "decision", "text": "Round once"})
    expect(page.locator("#event-2")).to_contain_text("Round once")
    command = client.record_command(session, NewCommand(command_type="tool", action="make", tool_call_id="t"))
    expect(page.locator(f"#command-{command.id}")).to_contain_text("in flight")
    expect(page.locator(".head .facts")).to_contain_text("make")
    expect(page.locator(".head .facts")).to_contain_text("2 unsaved")


def test_an_entry_has_a_link_and_opens_with_everything(visitor: Page, shown: Shown) -> None:
    key = f"command-{shown.fleet.command}"
    visitor.goto(f"{shown.served.url}/sessions/{shown.fleet.main}?at={key}")
    entry = visitor.locator(f"#{key}")
    expect(entry.locator(".diff .added")).to_have_text("+test_total!")
    expect(entry.locator(".diff .removed")).to_have_text("-test_total")
    expect(entry.locator("dl.tree").first).to_contain_text("file_path")
    failed = visitor.locator(".entry.command.failure").first
    failed.locator("summary").first.click()
    expect(failed.locator(".notice.bad")).to_contain_text("test_total")
    visitor.goto(f"{shown.served.url}/sessions/{shown.fleet.main}?at=event-3")
    expect(visitor.locator("#event-3")).to_be_in_viewport()
    assert keys(visitor)[0] == "event-3"


def test_filters_of_the_timeline_keep_what_fits(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/sessions/{shown.fleet.main}")
    visitor.wait_for_selector(LIVE)
    visitor.click(".segments >> text=commands")
    expect(visitor.locator(".entry.event")).to_have_count(0)
    visitor.select_option("[name=outcome]", "failure")
    expect(visitor.locator(".entry")).to_have_count(2)
    visitor.fill("[data-find]", "no such text")
    expect(visitor.locator(".timeline .empty")).to_contain_text("Nothing in the timeline matches")
    visitor.click("text=Show all of it")
    expect(visitor.locator(".entry.event").first).to_be_visible()


def test_the_slider_shows_the_state_of_any_event(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/sessions/{shown.fleet.main}/state")
    visitor.wait_for_selector(LIVE)
    expect(visitor.locator("[data-state]")).to_contain_text("Mend the totals of carts")
    visitor.locator("[data-slider]").focus()
    visitor.keyboard.press("Home")
    expect(visitor.locator("[data-state]")).to_contain_text("No prompt was recorded yet")
    assert "as_of=1" in visitor.url
    visitor.keyboard.press("ArrowRight")
    expect(visitor.locator("[data-state]")).to_contain_text("Mend the totals of carts")
    replayed = shown.client.replay_events(shown.fleet.main, until=2).work_state
    assert replayed["objective"] is not None
    visitor.goto(f"{shown.served.url}/sessions/{shown.fleet.main}/state?as_of=8&from=2")
    expect(visitor.locator(".differences")).to_contain_text("files")
    expect(visitor.locator(".verdict.added").first).to_be_visible()


def test_two_checkpoints_are_compared(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/sessions/{shown.fleet.main}/checkpoints")
    expect(visitor.locator("tbody tr")).to_have_count(2)
    visitor.click("text=Compare the two chosen")
    expect(visitor.locator(".differences")).to_contain_text("And the invoices")
    visitor.click("a:text('event ') >> nth=0")
    expect(visitor.locator(".panel")).to_contain_text("SHA-256 of the state")


def test_the_charts_say_what_they_draw(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/sessions/{shown.fleet.main}/activity")
    expect(visitor.locator(".chart").first.locator("svg")).to_have_attribute(
        "aria-label", "Context percentage from 20 to 55, at most 55"
    )
    expect(visitor.locator(".chart.low svg")).to_have_attribute("aria-label", "2 passed, 2 failed")
    assert visitor.locator(".chart .compaction").count() == 3  # one is the key
    expect(visitor.locator("table")).to_contain_text("Bash")


def test_a_hit_of_the_search_leads_to_its_place(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/search?q=%22round+once%2C+at%22&kind=event")
    assert visitor.locator(".hits mark").first.inner_text() == "Round once, at"
    visitor.click(".hits .place >> nth=0")
    visitor.wait_for_url(f"**/sessions/{shown.fleet.main}?at=event-*")
    expect(visitor.locator(".entry.at")).to_contain_text("Round once, at the end")
