"""One request to a page: who looks, what it asks, and how it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.settings import Settings
from session_continuity.web.dashboard.rendering import HEADERS, Templates, answer
from session_continuity.web.sign_in import SignIns, Viewer

if TYPE_CHECKING:
    from session_continuity.web.dashboard.live import Feed

THEME_COOKIE = "continuity_theme"
THEMES = ("system", "light", "dark")


class _Limits(TypedDict):
    max_files: int
    max_fields: int
    max_part_size: int


CHANGE_LIMITS = _Limits(max_files=0, max_fields=20, max_part_size=20_000)

DONE = {
    "closed": "The session is closed.",
    "stale": "The session is marked stale. A heartbeat brings it back.",
    "checkpoint": "A checkpoint was taken.",
    "resumed": "The thread goes on in this new session. The old one can write no more.",
    "held": "The session is on legal hold: nothing deletes or archives it.",
    "released": "The legal hold is lifted.",
    "acknowledged": "The alert is acknowledged.",
    "archiving": "The archive is at work. Load this page again to see what it did.",
    "revoked": "The token is revoked.",
    "sample": "A sample session was made. Remove it whenever you like.",
    "removed": "The sample session is gone.",
}
"""What a page says that a change has led to, by the word in its address: none of it comes from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """`viewer` is None before somebody has signed in. `client` sees what the viewer may see. `form` holds the
    fields of a change."""

    request: Request
    viewer: Viewer | None
    client: AsyncSessionContinuity
    settings: Settings
    templates: Templates
    sign_ins: SignIns
    feed: Feed
    form: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def person(self) -> str:
        """The name for the records of who did what."""
        assert self.viewer is not None  # noqa: S101
        return self.viewer.person

    @property
    def wants_fragment(self) -> bool:
        """Whether a page that is open asks for its changing part alone."""
        return self.request.headers.get("x-fragment") == "1"

    def asked(self, name: str) -> str | None:
        """A parameter of the address; an empty one is none."""
        return self.request.query_params.get(name, "").strip() or None

    def may(self, scope: str) -> bool:
        """Whether the viewer has that scope."""
        return self.viewer is not None and scope in self.viewer.scopes

    def with_form(self, fields: Mapping[str, str]) -> Visit:
        """The same visit with the fields of its form."""
        return replace(self, form=fields)

    def address(self, **changed: str | None) -> str:
        """This page's address with other parameters; None takes one out."""
        given = {**dict(self.request.query_params), **changed}
        kept = {name: text for name, text in given.items() if text and name != "done"}
        return f"{self.request.url.path}?{urlencode(kept)}" if kept else self.request.url.path

    def page(self, template: str, *, http_status: int = 200, **context: Any) -> Response:
        """The answer: a template with its context and what every page shows."""
        theme = self.request.cookies.get(THEME_COOKIE, "system")
        common = {
            "visit": self,
            "path": self.request.url.path,
            "theme": theme if theme in THEMES else "system",
            "done": DONE.get(self.asked("done") or ""),
            "csrf": self.viewer.csrf_token() if self.viewer is not None else "",
        }
        return answer(self.templates.html(template, {**common, **context}), http_status, self.request.headers)

    def redirect(self, path: str, *, done: str | None = None) -> Response:
        """The answer to a change: where to go on. `path` is one of ours."""
        if done is not None:
            path += f"{'&' if '?' in path else '?'}{urlencode({'done': done})}"
        return RedirectResponse(path, 303, HEADERS)
