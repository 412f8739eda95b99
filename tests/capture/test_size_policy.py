"""What is too long is stored as head and tail, with its size and hash; what is not stays as it is."""

from __future__ import annotations

import hashlib
import re

import orjson
import pytest

from session_continuity.capture.recorder.size_policy import clipped, clipped_text
from session_continuity.domain.payload import encode_payload


def test_a_short_value_stays_as_it_is() -> None:
    value = {"output": "x" * 1_000, "exit_code": 0, "list": ["a", None, 1.5]}
    assert clipped(value, 1_000) == value


def test_a_long_text_keeps_head_tail_size_and_hash() -> None:
    text = "head " + "é" * 5_000 + " tail"
    stored = clipped({"output": text}, 1_000)["output"]
    head, told, tail = stored.split("\n")
    assert (head, tail) == (text[:500], text[-500:])
    assert (
        told == f"[4,010 characters left out of 10,010 bytes, sha256 {hashlib.sha256(text.encode()).hexdigest()}]"
    )


def test_a_large_value_of_short_texts_becomes_head_tail_size_and_hash() -> None:
    value = {"rows": [f"row {number:06}" for number in range(60_000)]}
    encoded = orjson.dumps(value)
    stored = clipped(value)
    assert stored["bytes"] == len(encoded)
    assert stored["sha256"] == hashlib.sha256(encoded).hexdigest()
    assert stored["head"].startswith('{"rows":["row 000000"')
    assert stored["tail"].endswith('"row 059999"]}')


def test_a_clipped_value_is_always_accepted() -> None:
    nested: object = "x"
    for _ in range(5_000):
        nested = [nested]
    for value in ("x" * 3_000_000, {"a": ["y" * 30_000] * 100}, nested, {"n": 10**400, "f": float("nan")}):
        encode_payload("value", clipped(value))


@pytest.mark.parametrize("length", [999, 1_000, 1_001])
def test_the_limit_is_the_longest_that_stays_whole(length: int) -> None:
    stored = clipped_text("x" * length, 1_000)
    assert bool(re.search("sha256", stored)) == (length > 1_000)
