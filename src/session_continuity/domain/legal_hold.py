"""The legal hold: nothing forgets, deletes or archives a session that is on hold (report: nothing is lost by a
cascade in silence; design section 3)."""

from __future__ import annotations

from session_continuity.domain.identity import check_instance_id
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.session_registry import Session, not_found, session_from_row


def hold_session(instance_id: str) -> Operation[Session]:
    """Put a session on legal hold. Raises NotFound; Refused when the login may not."""
    return _set("hold_session", instance_id, True)


def release_session(instance_id: str) -> Operation[Session]:
    """Take a session off its legal hold. Raises NotFound; Refused when the login may not."""
    return _set("release_session", instance_id, False)


def _set(name: str, instance_id: str, legal_hold: bool) -> Operation[Session]:
    parameters = {"instance_id": check_instance_id(instance_id), "legal_hold": legal_hold}

    def steps() -> Steps[Session]:
        # The product's own role may not: whoever could lift a hold could delete.
        yield Statement("act_as_login", {})
        rows = yield Statement("set_legal_hold", parameters)
        if not rows:
            raise not_found(instance_id)
        return session_from_row(rows[0])

    return Operation(name, steps, atomic=True)
