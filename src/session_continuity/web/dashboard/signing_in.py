"""Signing in by the link of `continuity dashboard`, signing out, and the theme.

The link's page has a button: whatever only looks at an address, as a preview in a chat does, uses up no link.
"""

from __future__ import annotations

from starlette.responses import Response

from session_continuity.web.dashboard.visit import CHANGE_LIMITS, THEME_COOKIE, THEMES, Visit
from session_continuity.web.sign_in import COOKIE, SIGN_IN_SECONDS


async def sign_in(visit: Visit) -> Response:
    """GET shows the button, POST redeems the code."""
    if visit.request.method in ("GET", "HEAD"):
        return visit.page("sign_in.html", code=visit.asked("code"))
    async with visit.request.form(**CHANGE_LIMITS) as form:
        code = form.get("code", "")
    secret = visit.sign_ins.redeem(code) if isinstance(code, str) else None
    if secret is None:
        return visit.page("sign_in.html", http_status=403, code=None)
    answer = visit.redirect("/")
    # Behind a proxy we speak http to it; the origin, which is one of ours by now, says what the browser speaks.
    answer.set_cookie(
        COOKIE, secret, max_age=SIGN_IN_SECONDS, httponly=True, samesite="strict",
        secure=visit.request.headers.get("origin", "").startswith("https://"),
    )  # fmt: skip
    return answer


async def sign_out(visit: Visit) -> Response:
    """End the sign-in, here and in the browser."""
    assert visit.viewer is not None  # noqa: S101
    visit.sign_ins.end(visit.viewer)
    answer = visit.redirect("/")
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def choose_theme(visit: Visit) -> Response:
    """Keep the theme in a cookie, so that the first paint has it."""
    chosen = visit.form.get("theme", "")
    answer = visit.redirect(_own_path(visit.form.get("from", "/")))
    if chosen in THEMES:
        answer.set_cookie(THEME_COOKIE, chosen, max_age=365 * 86_400, httponly=True, samesite="strict")
    return answer


def _own_path(path: str) -> str:
    return path if path.startswith("/") and not path.startswith("//") and "\\" not in path else "/"
