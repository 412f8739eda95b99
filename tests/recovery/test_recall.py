"""The brief of a real recording, cut anywhere, names what mattered (figures: bench/recall.py)."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from session_continuity import SessionContinuity

ROOT = Path(__file__).parents[2]
RECORDINGS = Path(os.environ.get("CONTINUITY_RECORDINGS") or ROOT.parent / "shared" / "data" / "transcripts")

_spec = importlib.util.spec_from_file_location("recall", ROOT / "bench" / "recall.py")
assert _spec is not None
assert _spec.loader is not None
recall = sys.modules["recall"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recall)


def test_the_brief_of_each_recording_names_what_mattered(client: SessionContinuity) -> None:
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings at {RECORDINGS}; set CONTINUITY_RECORDINGS")
    missed = [
        f"{path.name}: {kind}: {what}"
        for path in recall.recordings(RECORDINGS)
        for kind, answers in recall.measure(client, path).items()
        for named, what in answers
        if not named
    ]
    assert missed == []


def test_the_measure_sees_a_brief_that_names_nothing(client: SessionContinuity, tmp_path: Path) -> None:
    """The control: with hardly any room the measure must report misses."""
    script = (ROOT / "demo" / "session.jsonl").read_text("utf-8")
    path = tmp_path / "session.jsonl"
    path.write_text(
        script.replace("{cwd}", "/srv/shop").replace("{sha}", "abc1234").replace("{session}", "s"), "utf-8"
    )
    whole = recall.measure(client, path)
    assert all(named for answers in whole.values() for named, _ in answers)
    assert sum(len(answers) for answers in whole.values()) > 20
    small = recall.measure(client, path, tokens=300)
    assert not all(named for answers in small.values() for named, _ in answers)
