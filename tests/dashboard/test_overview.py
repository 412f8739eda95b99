"""The overview: what is shown, filtered and kept current."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, Page, expect
from tests.dashboard.conftest import Served, Shown, Watched, needs_chromium, signed_in

from session_continuity import NewCommand, SessionContinuity

pytestmark = needs_chromium
LIVE = "[data-link-text]:text('live')"


def names(page: Page) -> list[str]:
    return [row.get_attribute("id") or "" for row in page.locator("tr[data-row]").all()]


def test_an_empty_database_says_how_to_begin_and_the_sample_comes_and_goes(
    page: Page, client: SessionContinuity
) -> None:
    expect(page.locator("h1")).to_have_text("No session yet")
    expect(page.locator("#init")).to_have_text("continuity init")
    page.click("text=Make a sample session")
    expect(page.locator(".done")).to_contain_text("sample session was made")
    (sample,) = client.find_sessions()
    assert client.recover_state(sample.instance_id).work_state["objective"] is not None
    page.goto(page.url.split("/sessions")[0] + "/connect")
    page.click("text=Remove it")
    expect(page.locator(".done")).to_contain_text("gone")
    assert client.get_session(sample.instance_id).metadata["forgotten"]
    assert [one.action for one in client.list_actions()] == ["remove_sample", "make_sample"]


def test_a_change_is_on_the_page_without_a_reload(page: Page, served: Served, client: SessionContinuity) -> None:
    session = client.register_session("shop", current_epic="checkout").instance_id
    page.goto(f"{served.url}/")
    page.wait_for_selector(LIVE)
    page.evaluate("window.same = true")
    row = page.locator(f"#{session}")
    expect(row.locator(".unsaved")).to_have_text("1")
    client.record_command(session, NewCommand(command_type="tool", action="make test", tool_call_id="t"))
    expect(row.locator(".doing")).to_contain_text("make test")
    client.record_outcome(session, tool_call_id="t", outcome="success")
    client.append_event(session, "task_spawned")
    expect(row.locator(".doing")).to_contain_text("task spawned")
    expect(row.locator(".unsaved")).to_have_text("2")
    client.send_heartbeat(session, context_percent=85)
    expect(row.locator(".percent")).to_contain_text("85")
    client.take_checkpoint(session)
    expect(row.locator(".unsaved")).to_have_text("0")
    another = client.register_session("bank").instance_id
    expect(page.locator(f"#{another}")).to_be_visible()
    client.close_session(session)
    expect(row.locator(".state")).to_have_text("closed")
    expect(page.locator(".figure b").nth(0)).to_have_text("1")
    assert page.evaluate("window.same")


def test_filters_are_in_the_address_and_back_works(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/")
    visitor.wait_for_selector(LIVE)
    everything = set(names(visitor))
    visitor.click(".segments >> text=closed")
    expect(visitor.locator(f"#{shown.fleet.closed}")).to_be_visible()
    expect(visitor.locator(f"#{shown.fleet.main}")).to_have_count(0)
    assert "status=closed" in visitor.url
    visitor.go_back()
    expect(visitor.locator(f"#{shown.fleet.main}")).to_be_visible()
    assert set(names(visitor)) == everything
    visitor.fill("[data-find]", "CHECKOUT")
    expect(visitor.locator("tr[data-row]")).to_have_count(1)
    assert "q=CHECKOUT" in visitor.url
    visitor.reload()
    assert names(visitor) == [shown.fleet.main]
    assert visitor.input_value("[data-find]") == "CHECKOUT"
    visitor.goto(f"{shown.served.url}/?project=bank")
    assert names(visitor) == [shown.fleet.hostile]


def test_a_tree_shows_who_comes_from_whom(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/?view=tree&project=shop")
    rows = names(visitor)
    assert rows.index(shown.fleet.child) == rows.index(shown.fleet.main) + 1
    assert "depth-1" in (visitor.locator(f"#{shown.fleet.child}").get_attribute("class") or "")
    assert rows.index(shown.fleet.new) == rows.index(shown.fleet.old) + 1


def test_the_order_is_what_was_asked(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/?view=list&sort=context")
    assert names(visitor)[:2] == [shown.fleet.child, shown.fleet.main]
    visitor.goto(f"{shown.served.url}/?view=list&sort=nonsense&status=nonsense")
    assert shown.fleet.main in names(visitor)


def test_the_keyboard_is_enough(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/?view=list&sort=context")
    visitor.wait_for_selector(LIVE)
    visitor.keyboard.press("/")
    assert visitor.evaluate("document.activeElement.name") == "q"
    visitor.keyboard.press("Escape")
    visitor.keyboard.press("j")
    visitor.keyboard.press("j")
    assert visitor.locator("tr.at").get_attribute("id") == shown.fleet.main
    visitor.keyboard.press("k")
    visitor.keyboard.press("Enter")
    visitor.wait_for_url(f"**/sessions/{shown.fleet.child}")
    visitor.keyboard.press("Tab")
    assert visitor.evaluate("document.activeElement.className") == "skip"


def test_colours_are_a_choice_that_stays(visitor: Page, shown: Shown) -> None:
    visitor.goto(f"{shown.served.url}/search")
    visitor.click(".menu summary")
    visitor.click("button:text('Dark')")
    assert visitor.url == f"{shown.served.url}/search"
    assert visitor.get_attribute("html", "data-theme") == "dark"
    visitor.goto(f"{shown.served.url}/")
    assert visitor.get_attribute("html", "data-theme") == "dark"


def test_who_sees_one_project_sees_no_other(browser: Browser, shown: Shown, watched: Watched) -> None:
    context, page = signed_in(browser, shown.served, watched, scope="write", projects=("bank",))
    assert names(page) == [shown.fleet.hostile]
    assert page.locator("select[name=project] option").all_inner_texts() == ["all", "bank"]
    watched.expected = ["404", "403"]
    page.goto(f"{shown.served.url}/sessions/{shown.fleet.main}")
    expect(page.locator("h1")).to_have_text("Not found")
    page.goto(f"{shown.served.url}/search?q=total*")
    assert shown.fleet.main not in page.content()
    page.goto(f"{shown.served.url}/operations/storage")
    expect(page.locator("h1")).to_have_text("That did not work")
    page.goto(f"{shown.served.url}/operations/audit")
    assert "hold session" in page.content()
    context.close()


def test_nine_tabs_of_one_browser_are_all_current(page: Page, served: Served, client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    tabs = [page, *(page.context.new_page() for _ in range(8))]
    for tab in tabs:
        tab.goto(f"{served.url}/")
    for tab in tabs:
        tab.wait_for_selector(LIVE)
    client.send_heartbeat(session, context_percent=77)
    for tab in tabs:
        expect(tab.locator(f"#{session} .percent")).to_contain_text("77")


def test_open_pages_recover_when_the_server_is_started_again(
    page: Page, served: Served, client: SessionContinuity, residents: Any, watched: Watched
) -> None:
    watched.expected = ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "Failed to fetch"]
    watched.expected += ["ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET"]
    session = client.register_session("shop").instance_id
    page.goto(f"{served.url}/")
    page.wait_for_selector(LIVE)
    page.evaluate("window.same = true")
    served.running.process.kill()
    served.running.process.wait()
    expect(page.locator("[data-link-text]")).to_contain_text("connection lost")
    client.send_heartbeat(session, context_percent=66)
    missed = client.register_session("bank").instance_id
    residents.serve(served.database, role="live")
    expect(page.locator(f"#{session} .percent")).to_contain_text("66", timeout=15_000)
    expect(page.locator(f"#{missed}")).to_be_visible()
    page.wait_for_selector(LIVE)
    assert page.evaluate("window.same")


def test_a_sign_out_ends_here_and_there(page: Page, served: Served, watched: Watched) -> None:
    watched.expected = ["401"]
    page.click(".menu summary")
    page.click("text=Sign out")
    expect(page.locator("h1")).to_have_text("Please sign in")
    page.goto(f"{served.url}/operations")
    expect(page.locator("h1")).to_have_text("Please sign in")


def test_a_thousand_sessions_have_pages(page: Page, served: Served, connection: Any) -> None:
    from tests.services.fleet import many

    ids = many(connection, 450)
    connection.execute(
        "UPDATE supervisor_sessions SET last_heartbeat = now() - right(instance_id, 6)::integer"
        " * interval '1 second'"
    )
    seen: list[str] = []
    page.goto(f"{served.url}/?view=list&sort=heartbeat")
    while True:
        seen += names(page)
        if not page.locator("text=Older sessions").count():
            break
        page.click("text=Older sessions")
        page.wait_for_load_state()
    assert seen == ids
