"""What people change by the pages, and who may: each change with its entry in the audit."""

from __future__ import annotations

import psycopg
from playwright.sync_api import Page, expect
from tests.archive.aged import age, make_sessions
from tests.dashboard.conftest import Served, needs_chromium, wait_until
from tests.resident.conftest import Residents

from session_continuity import SessionContinuity
from session_continuity.domain.alert_rules import DISK_FULL, RULES, AlertSettings
from session_continuity.domain.archives import list_archives
from session_continuity.web.dashboard.dashboard import CHANGES, PAGES
from session_continuity.web.tokens import READ, TokenFile

FILLED = {"alert_id": "0190a000-0000-7000-8000-000000000000", "instance_id": "shop-PS-abc123"}


def audit(client: SessionContinuity) -> list[tuple[str, str, str]]:
    return [(one.person, one.action, one.subject) for one in client.list_actions()]


@needs_chromium
def test_a_session_is_saved_marked_held_and_closed(page: Page, served: Served, client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    page.goto(f"{served.url}/sessions/{session}")
    page.click("text=Take checkpoint")
    expect(page.locator(".done")).to_have_text("A checkpoint was taken.")
    assert client.latest_checkpoint(session).metadata["reason"] == "taken by Ada"
    page.click("text=Mark stale")
    expect(page.locator(".welcome p").first).to_contain_text("until its next heartbeat")
    page.click("button:text('Mark it stale')")
    assert client.get_session(session).status == "stale"
    page.click("text=Put on legal hold")
    page.fill("[name=reason]", "case 7")
    page.click("button:text('Put it on hold')")
    expect(page.locator(".tag")).to_have_text("on legal hold")
    page.click("text=Release the legal hold")
    page.fill("[name=reason]", "case closed")
    page.click("button:text('Release it')")
    assert not client.get_session(session).legal_hold
    page.click("text=Close …")
    page.click("button:text('Close it')")
    assert client.get_session(session).status == "closed"
    assert audit(client) == [
        ("Ada", action, session)
        for action in ("close_session", "release_session", "hold_session", "mark_stale", "take_checkpoint")
    ]
    page.goto(f"{served.url}/operations/audit")
    expect(page.locator("tbody tr")).to_have_count(5)
    expect(page.locator("tbody")).to_contain_text("reason: case 7")


def tab_to(page: Page, text: str) -> None:
    """Press Tab until what is focused says that."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if text in page.evaluate("document.activeElement.textContent"):
            return
    raise AssertionError(f"no key leads to {text!r}")


@needs_chromium
def test_a_session_is_closed_by_keys_alone(page: Page, served: Served, client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    page.goto(f"{served.url}/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sessions/{session}")
    tab_to(page, "Close …")
    page.keyboard.press("Enter")
    page.wait_for_url("**/confirm?change=close")
    tab_to(page, "Close it")
    page.keyboard.press("Enter")
    page.wait_for_url("**?done=closed")
    assert client.get_session(session).status == "closed"


@needs_chromium
def test_a_resume_says_what_becomes_of_the_old_copy_and_does_it(
    page: Page, served: Served, client: SessionContinuity
) -> None:
    session = client.register_session("shop").instance_id
    client.append_event(session, "prompt_submitted", {"text": "Mend the totals"})
    page.goto(f"{served.url}/sessions/{session}/resume")
    expect(page.locator(".numbered")).to_contain_text(f"{session} can write no more")
    expect(page.locator("#brief")).to_contain_text("Mend the totals")
    assert client.get_session(session).superseded_by is None, "looking changes nothing"
    page.click("text=Resume now")
    successor = client.get_session(session).superseded_by
    assert successor is not None
    page.wait_for_url(f"**/sessions/{successor}?done=resumed")
    assert client.get_session(successor).metadata["awaits_agent"]
    page.goto(f"{served.url}/sessions/{session}")
    expect(page.locator(".notice.warn")).to_contain_text(f"taken over by {successor}")
    assert audit(client) == [("Ada", "resume_session", session)]


def test_a_resume_of_a_page_that_is_out_of_date_is_refused(served: Served, client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    cookie = served.cookie()
    resume = f"/sessions/{session}/resume"
    answer = served.change(resume, resume, cookie=cookie, epoch="7")
    assert (answer.status, client.get_session(session).superseded_by) == (409, None)
    assert client.list_actions() == []


def test_a_change_that_fails_leaves_no_entry(served: Served, client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    client.resume_session(session)
    cookie = served.cookie()
    answer = served.change("/connect", f"/sessions/{session}/close", cookie=cookie)
    assert answer.status == 409
    assert "taken over" in answer.text
    assert client.list_actions() == []


def test_an_alert_is_acknowledged_by_name(served: Served, client: SessionContinuity) -> None:
    client.settle_machine_alert(DISK_FULL, "one", {"free_mb": 1, "free_percent": 1})
    (alert,) = client.list_alerts()
    cookie = served.cookie("Bob", "write")
    answer = served.change("/operations", f"/alerts/{alert.alert_id}/acknowledge", cookie=cookie)
    assert (answer.status, answer.headers["location"]) == (303, "/operations?done=acknowledged")
    assert client.list_alerts()[0].acknowledged_by == "Bob"
    assert audit(client) == [("Bob", "acknowledge_alert", str(alert.alert_id))]


def test_who_sees_some_projects_alone_acknowledges_by_name_and_only_there(
    served: Served, client: SessionContinuity, database: str
) -> None:
    session = client.register_session("shop").instance_id
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE supervisor_sessions SET status = 'stale'")
    client.evaluate_rule(RULES["stale_session"], AlertSettings())
    (alert,) = client.list_alerts()
    change = f"/alerts/{alert.alert_id}/acknowledge"
    elsewhere = served.cookie("Eve", "write", ("bank",))
    assert served.change("/connect", change, cookie=elsewhere).status == 404
    assert client.list_actions() == []
    cookie = served.cookie("Bob", "write", ("shop",))
    assert served.change("/operations", change, cookie=cookie).status == 303
    assert (client.list_alerts()[0].subject, client.list_alerts()[0].acknowledged_by) == (session, "Bob")
    assert audit(client) == [("Bob", "acknowledge_alert", str(alert.alert_id))]


def test_what_is_due_is_archived_and_the_pass_is_kept(
    residents: Residents, database: str, client: SessionContinuity
) -> None:
    policy = '[retention]\narchive_sessions_after = "30d"\n'
    served = Served(residents.serve(database, role="live", more=policy), database)
    with psycopg.connect(database, autocommit=True) as connection:

        def holders() -> int:
            found = connection.execute(
                "SELECT count(DISTINCT holder) FROM service_passes WHERE service = 'archive'"
            )
            return found.fetchall()[0][0]

        wait_until(lambda: holders() == 1)  # the service's own pass; its next one comes after ten minutes
        make_sessions(client, 2)
        age(connection)
        cookie = served.cookie()
        answer = served.change("/operations/archive", "/operations/archive/run", cookie=cookie)
        assert (answer.status, answer.headers["location"]) == (303, "/operations/archive?done=archiving")
        wait_until(lambda: holders() == 2)
        passes = connection.execute("SELECT sum(done), max(error) FROM service_passes WHERE service = 'archive'")
        assert passes.fetchall() == [(1, None)]
    assert [archive.sessions for archive in client.run(list_archives())] == [2]
    assert audit(client) == [("Ada", "run_archive", "archive")]


def test_a_token_is_revoked(served: Served, client: SessionContinuity) -> None:
    tokens = TokenFile(served.running.home)
    text, made = tokens.create(["read"], name="build")
    cookie = served.cookie()
    answer = served.change("/operations/tokens", "/operations/tokens/revoke", cookie=cookie, token=made.id)
    assert answer.status == 303
    assert tokens.find(text) is None
    assert audit(client) == [("Ada", "revoke_token", made.id)]


def test_no_page_and_no_change_is_open_without_a_sign_in(served: Served) -> None:
    for path in (*PAGES, *CHANGES, "/live"):
        where = (
            path.replace("{kind}", "event")
            .replace("{reference:int}", "1")
            .format(checkpoint_id=FILLED["alert_id"], **FILLED)
        )
        form = {"csrf": "x"} if path in CHANGES and path not in PAGES else None
        assert served.ask(where, form=form).status == 401, path
        assert served.ask(where, form=form, cookie="continuity_sign_in=guess").status == 401, path


def test_every_change_needs_a_token_of_its_own_sign_in_and_its_scope(served: Served) -> None:
    """The control stands above: the same requests with their token are done."""
    mine, other = served.cookie("Ada"), served.cookie("Bob")
    looking = served.cookie("Eve", "read")
    foreign = served.ask("/connect", cookie=other).csrf
    for path, (scope, _) in CHANGES.items():
        where = path.format(**FILLED)
        for csrf in ("", "x", "x.y", foreign):
            answer = served.ask(where, cookie=mine, form={"csrf": csrf})
            assert (answer.status, "another sign-in" in answer.text) == (403, True), path
        if scope != READ:
            answer = served.change("/connect", where, cookie=looking)
            assert (answer.status, "needs the scope" in answer.text) == (403, True), path


def test_a_page_of_another_site_changes_nothing(served: Served, client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    cookie = served.cookie()
    csrf = served.ask("/connect", cookie=cookie).csrf
    where = f"/sessions/{session}/close"
    for origin in ("http://evil.example", "null", served.url.replace("http:", "https:").replace("127", "128")):
        assert served.ask(where, cookie=cookie, form={"csrf": csrf}, Origin=origin).status == 403
    assert served.ask("/", cookie=cookie, Host="evil.example").status == 421
    assert client.get_session(session).status == "active"
    assert served.ask(where, cookie=cookie, form={"csrf": csrf}).status == 303, "the control"


def test_a_cookie_is_no_token_and_a_token_no_cookie(served: Served) -> None:
    cookie = served.cookie()
    for path in ("/metrics", "/mcp", "/capture"):
        assert served.ask(path, cookie=cookie, form={} if path != "/metrics" else None).status == 401
    token, _ = TokenFile(served.running.home).create(["admin"])
    assert served.ask("/", Authorization=f"Bearer {token}").status == 401


def test_a_link_works_once_and_not_for_long(served: Served) -> None:
    code = served.link().partition("code=")[2]
    assert served.ask(f"/sign-in?code={code}").status == 200
    assert served.ask(f"/sign-in?code={code}").status == 200, "looking uses nothing up"
    answer = served.ask("/sign-in", form={"code": code})
    assert answer.status == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert served.ask("/", cookie=cookie.partition(";")[0]).status == 200
    assert served.ask("/sign-in", form={"code": code}).status == 403
    assert served.ask("/sign-in", form={"code": "guess"}).status == 403


def test_every_answer_has_the_headers_that_keep_it_safe(served: Served) -> None:
    cookie = served.cookie()
    style = served.ask("/", cookie=cookie).text.partition('href="/static/')[2].partition('"')[0]
    for path in ("/", "/sign-in", "/connect", "/sessions/nobody-PS-000000", f"/static/{style}"):
        headers = {name.lower(): text for name, text in served.ask(path, cookie=cookie).headers.items()}
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
