"""R1: kill -9 of the embedded server under four writing processes. What was acknowledged stays, once, in order.

CONTINUITY_KILLS kills in the long run; CONTINUITY_SEED repeats a run.
"""

from __future__ import annotations

import os
import random

import pytest
from tests.faults.killing import own_home, run

SEED = int(os.environ.get("CONTINUITY_SEED", random.randrange(2**32)))


@pytest.mark.timeout(180)
def test_what_was_acknowledged_survives_kills_of_the_server() -> None:
    with own_home() as home:
        figures = run(home, 6, SEED)
    print(f"\nseed {SEED}: {figures.summary()}", *figures.reasons, sep="\n")
    assert (figures.lost, figures.duplicates, figures.gaps) == (0, 0, 0)
    assert figures.retries == 0, "the library alone brings every call through"


@pytest.mark.timeout(180)
def test_without_synchronous_commit_acknowledged_events_are_lost() -> None:
    """Control: the same harness sees loss where there is some."""
    with own_home() as home:
        figures = run(home, 3, SEED, how=("tree",), options="-c synchronous_commit=off")
    print(f"\nseed {SEED}, synchronous_commit=off: {figures.summary()}")
    assert figures.lost > 0


@pytest.mark.faults
@pytest.mark.timeout(3_600)
def test_fifty_thousand_acknowledged_events_survive_two_hundred_kills() -> None:
    kills = int(os.environ.get("CONTINUITY_KILLS", 200))
    with own_home() as home:
        figures = run(home, kills, SEED, most_between=1_000)
    print(f"\nR1, seed {SEED}: {figures.summary()}")
    assert (figures.lost, figures.duplicates, figures.gaps, figures.retries) == (0, 0, 0, 0)
    assert figures.acknowledged >= 250 * kills
    assert max(figures.outages) <= 10


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_many_acknowledged_events_are_lost_without_synchronous_commit() -> None:
    """Control of the long run."""
    with own_home() as home:
        figures = run(home, 20, SEED, how=("tree",), options="-c synchronous_commit=off", most_between=2_000)
    print(f"\nR1 control, seed {SEED}, synchronous_commit=off: {figures.summary()}")
    assert figures.lost > 0
