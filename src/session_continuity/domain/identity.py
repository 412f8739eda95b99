"""Ids: instance ids by the report's grammar, and the ids that make every write exactly-once."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from uuid import UUID

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.payload import check_text

INSTANCE_ID = re.compile(r"[a-z0-9][a-z0-9-]*-(?:PS|MS)-[a-z0-9]{6}")
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def check_instance_id(value: str) -> str:
    """Returns the id; raises InvalidInput (instance_id_format) when it breaks the grammar."""
    if not INSTANCE_ID.fullmatch(value) or len(value) > 80:
        raise InvalidInput(
            f"instance id {value[:80]!r} is not of the form project-PS-abc123: PS or MS, then six of a-z 0-9,"
            " 80 characters at most",
            code="instance_id_format",
        )
    return value


def type_of(instance_id: str) -> str:
    """PS or MS, by the id. Raises InvalidInput."""
    return check_instance_id(instance_id)[-9:-7]


def slug(project: str) -> str:
    """The project's name as the first part of an instance id."""
    return re.sub(r"[^a-z0-9]+", "-", project.lower()).strip("-")[:60].rstrip("-") or "project"


def new_instance_id(project: str, instance_type: str) -> str:
    """A random instance id for the project."""
    suffix = "".join(secrets.choice(_ALPHABET) for _ in range(6))
    return f"{slug(project)}-{instance_type}-{suffix}"


def derived_instance_id(project: str, instance_type: str, name: str) -> str:
    """The instance id that belongs to a name, the same each time it is asked for."""
    number = int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8])
    suffix = "".join(_ALPHABET[number // 36**place % 36] for place in range(6))
    return f"{slug(project)}-{instance_type}-{suffix}"


def new_operation_id() -> UUID:
    """A version 7 UUID (RFC 9562): ordered by time, so that neighbours share index pages (a third of the
    write-ahead log of random keys)."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    return UUID(
        int=(milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (random >> 68 & 0xFFF) << 64
        | 0b10 << 62
        | random & 2**62 - 1
    )


def operation_id(instance_id: str, given: UUID | str | None) -> UUID:
    """The UUID of an operation: a new one, the caller's own, or the one that belongs to the caller's text
    within this instance."""
    if given is None:
        return new_operation_id()
    if isinstance(given, UUID):
        return given
    check_text("operation id", given, 1_000)
    digest = hashlib.sha256(f"{instance_id}\0{given}".encode()).digest()
    return UUID(bytes=digest[:16], version=5)


def event_id(operation: UUID, part: int) -> UUID:
    """The id of the part-th event (from 0) of an operation."""
    return UUID(int=(operation.int + part) % 2**128) if part else operation
