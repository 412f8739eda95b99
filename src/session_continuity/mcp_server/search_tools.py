"""The tool of the search."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple

from pydantic import Field

from session_continuity.domain.paging import read_place, write_place
from session_continuity.domain.search import Found
from session_continuity.mcp_server.answers import Answer, page_answer
from session_continuity.mcp_server.arguments import Cursor, InstanceId, Limit, Name
from session_continuity.mcp_server.context import App
from session_continuity.mcp_server.schemas import page_schema
from session_continuity.mcp_server.tool import READS, tool


class Hit(NamedTuple):
    """A place where the words stand; in `excerpt` they are in brackets."""

    at: datetime
    instance_id: str
    kind: str
    reference: int
    title: str
    excerpt: str
    document_id: int


SHOWN = Hit._fields[:-1]


@tool("Search the records", READS, page_schema("hits", Hit))
async def search_records(
    app: App,
    query: Annotated[Name, Field(description='"side by side", -not, begin*, a OR b.')],
    instance_id: InstanceId | None = None,
    project: Name | None = None,
    limit: Limit = 10,
    cursor: Cursor | None = None,
) -> Answer:
    """Find words in all records, the latest first."""
    found = await app.client.search_records(
        query,
        instance_id=instance_id,
        project=project,
        before=read_place(cursor),
        limit=limit + 1,
    )
    hits = [_hit(one) for one in found]
    return page_answer(
        "hits", hits, limit, lambda hit: write_place(hit.at, hit.document_id), SHOWN, known=Hit._fields
    )


def _hit(found: Found) -> Hit:
    excerpt = "".join(f"[{text}]" if is_word else text for text, is_word in found.snippet)
    return Hit(found.at, found.instance_id, found.kind, found.reference, found.title, excerpt, found.document_id)


TOOLS = (search_records,)
