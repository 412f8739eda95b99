"""How often each token may ask: a bucket for each that fills steadily and pays for every request."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST_SECONDS = 10
"""What a bucket holds: this long of steady asking at once."""

_MOST_BUCKETS = 1_000


class RateLimit:
    """At most `per_second` requests of each key, and ten times as many at once after a pause."""

    def __init__(self, per_second: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._spent: dict[str, tuple[float, float]] = {}

    def wait(self, key: str) -> float:
        """0.0 when the request is admitted, else the seconds until the next one is."""
        now, full = self._clock(), float(self._per_second * BURST_SECONDS)
        left, at = self._spent.get(key, (full, now))
        left = min(full, left + (now - at) * self._per_second)
        if left < 1:
            return (1 - left) / self._per_second
        if len(self._spent) >= _MOST_BUCKETS and key not in self._spent:
            filled = now - BURST_SECONDS
            self._spent = {name: spent for name, spent in self._spent.items() if spent[1] > filled}
        self._spent[key] = (left - 1, now)
        return 0.0
