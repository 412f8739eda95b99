"""Templates into answers. Every text that a template shows is escaped, and what hides in it is made visible first:
terminal escapes, control characters and marks that turn the writing direction."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.datastructures import Headers
from starlette.responses import Response

from session_continuity.domain.measures import ago, duration, size
from session_continuity.domain.text import printable
from session_continuity.web.dashboard import charts

_HERE = Path(__file__).parent
_WORTH_PACKING = 500

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "worker-src 'self'", "style-src 'self'", "img-src 'self'",
    "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
))  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer: nothing from elsewhere, nothing inline, in no frame."""

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """A file of the pages, plain and packed."""

    media_type: str
    plain: bytes
    packed: bytes


class Templates:
    """The templates and the static files, read once. `threshold`: the context percentage of a checkpoint."""

    def __init__(self, *, threshold: int) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            finalize=visible,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "ago": ago, "duration": duration, "size": size, "number": number, "iso": iso, "words": words,
        }  # fmt: skip
        known: dict[str, Any] = {"static": self.static_url, "threshold": threshold, **charts.FUNCTIONS}
        self._environment.globals.update(known)

    def html(self, template: str, context: Mapping[str, Any]) -> str:
        """A template filled."""
        return self._environment.get_template(template).render(context)

    def static_url(self, name: str) -> str:
        """Where a static file is found; another place whenever any of them changed."""
        return f"/static/{self._digest}/{name}"

    def content(self, name: str) -> bytes:
        """A static file as it is."""
        return self._contents[name]

    @cached_property
    def static(self) -> dict[str, StaticFile]:
        """The static files by their URL."""
        return {
            self.static_url(name): StaticFile(
                media_type=_TYPES[Path(name).suffix], plain=content, packed=gzip.compress(content, 9, mtime=0)
            )
            for name, content in self._contents.items()
        }

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in sorted((_HERE / "static").iterdir())}

    @cached_property
    def _digest(self) -> str:
        whole = hashlib.sha256()
        for name, content in self._contents.items():
            whole.update(name.encode() + b"\0" + content)
        return whole.hexdigest()[:12]


def answer(content: str, status: int, asked: Headers, *, media_type: str = "text/html") -> Response:
    """An answer with the headers of every page, packed where the browser takes that."""
    body = content.encode("utf-8", "replace")
    headers = {**HEADERS, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding, Cookie"}
    if len(body) > _WORTH_PACKING and takes_gzip(asked):
        body = gzip.compress(body, 5, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, status, headers, media_type)


def takes_gzip(asked: Headers) -> bool:
    """Whether the browser takes a packed answer."""
    return "gzip" in asked.get("accept-encoding", "")


def visible(shown: Any) -> Any:
    """What a template shows: text with nothing hidden in it, line by line."""
    if shown is None:
        return ""
    if isinstance(shown, str) and not isinstance(shown, Markup):
        return shown if shown.isascii() and shown.isprintable() else _visible_lines(shown)
    return shown


def _visible_lines(text: str) -> str:
    return "\n".join(printable(line.replace("\t", "    ")) for line in text.replace("\r\n", "\n").split("\n"))


def iso(moment: datetime | None) -> str:
    """A time for machines, in UTC to the millisecond."""
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")


def number(count: float | None) -> str:
    """A whole number with its thousands parted."""
    return "" if count is None else f"{count:,.0f}"


def words(name: str) -> str:
    """A name of the records as words: `prompt_submitted` is `prompt submitted`."""
    return name.replace("_", " ")
