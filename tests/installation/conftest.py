"""A user with a home folder of the test's own, and the harnesses' settings in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from session_continuity.capture.harnesses.harness_settings import Place, Scope
from session_continuity.capture.setup.installation import HARNESSES, Installation, PlannedEdit
from session_continuity.settings import Settings, load_settings


@dataclass(frozen=True)
class User:
    """A user, the folder of a project, and the data folder."""

    settings: Settings
    place: Place

    def installation(self, scope: Scope = "user") -> Installation:
        return Installation(self.settings, replace(self.place, scope=scope))

    def file(self, harness: str, scope: Scope = "user") -> Path:
        return HARNESSES[harness].settings_file(replace(self.place, scope=scope))

    def write(self, harness: str, content: bytes | None, scope: Scope = "user") -> Path:
        path = self.file(harness, scope)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return path

    def init(self, harness: str, scope: Scope = "user") -> PlannedEdit:
        installation = self.installation(scope)
        planned = installation.plan([harness])
        installation.apply(planned)
        return planned[0]

    def undo(self, harness: str, scope: Scope = "user") -> PlannedEdit:
        installation = self.installation(scope)
        planned = installation.plan_undo([harness])
        installation.undo(planned)
        return planned[0]


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user who has no settings yet."""
    return make_user(tmp_path)


def make_user(folder: Path) -> User:
    for name in ("user", "project"):
        (folder / name).mkdir()
    place = Place(scope="user", home=folder / "user", project=folder / "project", environment={"PATH": ""})
    return User(load_settings(home=folder / "data folder"), place)
