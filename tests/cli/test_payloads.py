"""What can't be stored is refused with a stable code before anything is written."""

from __future__ import annotations

import pytest

from .conftest import Continuity

REFUSED = {
    "nul": (r'{"text": "a\u0000b"}', "payload_nul"),
    "nul in a key": (r'{"a\u0000b": 1}', "payload_nul"),
    "lone surrogate": (r'{"text": "\ud800"}', "payload_lone_surrogate"),
    "lone surrogate in a key": (r'{"\udc00": 1}', "payload_lone_surrogate"),
    "infinite": ('{"n": 1e400}', "payload_not_finite"),
    "nan": ('{"n": NaN}', "payload_not_finite"),
    "minus infinity": ('{"n": -Infinity}', "payload_not_finite"),
    "large integer": ('{"n": 1' + 400 * "0" + "}", "payload_number_out_of_range"),
    "deep": ('{"a":' * 100_000 + "1" + "}" * 100_000, "payload_too_deep"),
    "rather deep": ('{"a":' * 201 + "1" + "}" * 201, "payload_too_deep"),
    "large": ('{"text": "' + "x" * 1_048_576 + '"}', "payload_too_large"),
    "larger than is read": ('{"text": "' + "x" * 9_000_000 + '"}', "payload_too_large"),
    "no json": ("{text: 1}", "payload_not_json"),
    "empty": ("", "payload_not_json"),
    "two documents": ("{} {}", "payload_not_json"),
    "a list": ("[1]", "payload_not_object"),
    "a text": ('"x"', "payload_not_object"),
    "null": ("null", "payload_not_object"),
}


def test_what_cannot_be_stored_is_refused_whole(continuity: Continuity, session: str) -> None:
    found: dict[str, tuple[int, str]] = {}
    for name, (payload, _) in REFUSED.items():
        answer = continuity("events", "append", session, "note_recorded", "-", "--json", stdin=payload)
        found[name] = answer.code, answer.document["error"]
        assert answer.err == ""
    assert found == {name: (2, code) for name, (_, code) in REFUSED.items()}
    assert len(continuity("events", "list", session, "--json").document) == 1


@pytest.mark.parametrize("payload", [b'{"text": "caf\xe9"}', "{}".encode("utf-16"), b"\xff\xfe"])
def test_bytes_that_are_not_utf8_are_refused(continuity: Continuity, session: str, payload: bytes) -> None:
    answer = continuity("events", "append", session, "note_recorded", "-", "--json", stdin=payload)
    assert (answer.code, answer.document["error"]) == (2, "payload_not_utf8")


def test_every_json_option_is_checked(continuity: Continuity, session: str) -> None:
    bad = r'{"a": "\ud800"}'
    for arguments in (
        ["sessions", "register", "p", "--metadata", bad],
        ["events", "append", session, "note_recorded", "{}", "--metadata", bad],
        ["commands", "record", session, "t", "a", "--parameters", bad],
        ["commands", "record", session, "t", "a", "--result", bad],
        ["commands", "record", session, "t", "a", "--context", bad],
        ["commands", "outcome", session, "success", "--command-id", "1", "--result", bad],
        ["checkpoints", "take", session, "--metadata", bad],
    ):
        answer = continuity(*arguments, "--json")
        assert (answer.code, answer.document["error"]) == (2, "payload_lone_surrogate"), arguments
    for arguments in (
        ["sessions", "register", "p", "--metadata", "[1]"],
        ["checkpoints", "take", session, "--metadata", "3"],
    ):
        answer = continuity(*arguments, "--json")
        assert (answer.code, answer.document["error"]) == (2, "payload_not_object"), arguments


def test_what_can_be_stored_comes_back_as_it_was(continuity: Continuity, session: str) -> None:
    payload = r'{"text": "\ud83d\ude00 \u2028 é", "n": 9007199254740993, "f": 0.1, "l": [[], {}, null, true]}'
    assert continuity("events", "append", session, "note_recorded", payload).code == 0
    stored = continuity("events", "list", session, "--json").document[-1]["event_data"]
    assert stored == {"text": "\U0001f600 \u2028 é", "n": 9007199254740993, "f": 0.1, "l": [[], {}, None, True]}
    marked = "\ufeff" + '{"text": "with a byte order mark"}'
    assert continuity("events", "append", session, "note_recorded", "-", stdin=marked).code == 0
