"""R10 at length: CONTINUITY_ZOMBIES (1,000) copies that were taken over, a third blocked on the row lock."""

from __future__ import annotations

import os

import pytest
from tests.client.zombies import accepted_by_reading_first, accepted_of

from session_continuity import SessionContinuity


@pytest.mark.faults
@pytest.mark.timeout(1_800)
def test_no_write_of_a_thousand_zombies_is_accepted(client: SessionContinuity, database: str) -> None:
    zombies = int(os.environ.get("CONTINUITY_ZOMBIES", 1_000))
    figures = accepted_of(client, database, zombies)
    control = accepted_by_reading_first(client, database, 100)
    print(
        f"\nR10: {zombies} zombies {figures.tried}, {figures.blocked} of them blocked on the row lock:"
        f" {len(figures.accepted)} accepted; control (read, then insert): {control} of 100 accepted"
    )
    assert figures.accepted == []
    assert control == 100
