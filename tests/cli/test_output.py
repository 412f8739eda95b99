"""Tables and texts for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from session_continuity.cli import output
from session_continuity.domain.event_store import Appended
from session_continuity.domain.session_registry import Origin


def test_json_knows_the_records() -> None:
    value = {
        "row": Appended("a-PS-abc123", (1, 2), UUID(int=1)),
        "dataclass": Origin(host="h"),
        "bytes": b"\x01\xff",
        "path": Path("/x"),
        "length": timedelta(seconds=1.5),
        "time": datetime(2026, 1, 28, tzinfo=UTC),
    }
    text = output.json_text(value)
    assert '"sequence_nums":[1,2]' in text
    assert '"host":"h"' in text
    assert '"bytes":"01ff","path":"/x","length":1.5,"time":"2026-01-28T00:00:00+00:00"' in text


def test_json_escapes_what_a_terminal_would_act_on_and_nothing_else() -> None:
    assert output.json_text("é☃\u202e\x9b\x7f\U000e0041") == '"é☃\\u202e\\u009b\\u007f\\udb40\\udc41"'
    assert output.json_text("half \udce9") == '"half ?"' or "\ufffd" in output.json_text("half \udce9")


def test_a_table_is_aligned(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    output.write_table(("a", "b"), [("long value", None), ("x", True)], nothing="none")
    assert capsysbinary.readouterr().out.decode().splitlines() == [
        "A           B",
        "long value  -",
        "x           yes",
    ]


def test_cells_are_one_short_line() -> None:
    assert output.cell("a\nb\tc  d") == "a b c d"
    assert len(output.cell("x" * 10_000)) == output.CELL
    assert output.cell("\n\n") == "-"
    assert output.cell({"a": 1}) == '{"a":1}'


def test_fields_leave_out_what_is_unknown(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    output.write_fields({"name": "x", "empty": None, "zero": 0, "no": False, "lines": "a\nb"})
    shown = capsysbinary.readouterr().out.decode().splitlines()
    assert shown == ["name   x", "zero   0", "no     no", "lines  a", "       b"]
