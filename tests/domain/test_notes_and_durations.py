"""Notes, which no brief may cut in silence, and lengths of time as they are written."""

from __future__ import annotations

from datetime import timedelta

import pytest

from session_continuity.domain.durations import parse_duration
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.fold import FoldedEvent, fold
from session_continuity.domain.notes import NOTE_KINDS, NOTE_LIMIT, prepare_note
from session_continuity.domain.work_state import empty_state

SESSION = "demo-PS-abc123"


@pytest.mark.parametrize("kind", NOTE_KINDS)
def test_a_note_of_every_kind_is_folded_whole(kind: str) -> None:
    text = "x" * NOTE_LIMIT
    append = prepare_note(SESSION, text, kind=kind)  # pyright: ignore[reportArgumentType]
    assert append.event_types == ["note_recorded"]
    state = fold(empty_state(), [FoldedEvent(SESSION, "note_recorded", 2, {"kind": kind, "text": text})])
    assert [(note["kind"], note["text"]) for note in state["notes"]] == [(kind, text)]


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [("", "note", "text_empty"), ("x" * (NOTE_LIMIT + 1), "note", "text_too_long"), ("x", "answer", "kind_enum")],
)
def test_a_note_that_would_be_lost_or_cut_is_refused(text: str, kind: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        prepare_note(SESSION, text, kind=kind)  # pyright: ignore[reportArgumentType]
    assert refused.value.stable_code == code


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("5s", 5), ("30m", 1_800), ("1h30m", 5_400), ("7d", 604_800), ("0s", 0)]
)
def test_a_duration_is_a_sum_of_parts(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 s", "5y", "1e3s", "٣s", "999999999w", "1s" * 13])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_duration(text)
