"""What the fault tests take from others."""

from __future__ import annotations

from tests.alerts.conftest import hook

__all__ = ["hook"]
