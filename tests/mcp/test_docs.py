"""docs/mcp.md tells of the server as it is."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from session_continuity.mcp_server.app import TOOLS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mcp.md"
LIST = json.loads((Path(__file__).parent / "tools.json").read_text("utf-8"))
BLOCK = re.compile(r"(<!-- tools: .*? -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def effect(hints: dict[str, bool]) -> str:
    if hints["readOnlyHint"]:
        return "reads"
    if hints["destructiveHint"]:
        return "fences"
    return "settles" if hints["idempotentHint"] else "adds"


def arguments(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    names = [f"`{name}`" if name in required else f"[`{name}`]" for name in schema["properties"]]
    return " ".join(names)


def table() -> str:
    rows = [
        f"| `{tool['name']}` | {tool['description']} | {effect(tool['annotations'])} |"
        f" {arguments(tool['inputSchema'])} |\n"
        for tool in LIST
    ]
    return "| tool | what it does | | arguments |\n|---|---|---|---|\n" + "".join(rows)


def test_the_table_of_tools_is_that_of_the_server() -> None:
    page = PAGE.read_text("utf-8")
    if os.environ.get("CONTINUITY_UPDATE_SNAPSHOTS"):
        page = BLOCK.sub(lambda block: block[1] + table() + block[3], page)
        PAGE.write_text(page, "utf-8")
    (block,) = BLOCK.findall(page)
    assert block[1] == table()
    assert [tool["name"] for tool in LIST] == [declared.name for declared in TOOLS]


def test_resources_and_prompts_are_those_of_the_server() -> None:
    page = PAGE.read_text("utf-8")
    source = "\n".join(
        (ROOT / "src" / "session_continuity" / "mcp_server" / name).read_text("utf-8")
        for name in ("resources.py", "prompts.py")
    )
    for address in re.findall(r'"(continuity://[^"]+)"', source):
        assert f"| `{address}` |" in page
    for name in re.findall(r'server\.prompt\(\s*name="(\w+)"', source):
        assert f"| `{name}` |" in page
