"""Operations: alerts, services, storage, the archive, the verify report, tokens and the audit."""

from __future__ import annotations

import threading
from uuid import UUID

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from session_continuity.client import SessionContinuity
from session_continuity.deployment import Deployment
from session_continuity.domain.alert_rules import RULES
from session_continuity.domain.alerts import acknowledge_alert
from session_continuity.domain.archives import list_archives
from session_continuity.domain.audit import audited
from session_continuity.domain.errors import Conflict, Forbidden, InvalidInput, SessionContinuityError
from session_continuity.domain.retention import plan_retention
from session_continuity.services.archive import Archiving
from session_continuity.services.runner import new_holder, run_pass
from session_continuity.web.dashboard.visit import Visit
from session_continuity.web.tokens import ADMIN, TokenFile

SHOWN = 100
_archiving = threading.Lock()
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def show_alerts(visit: Visit) -> Response:
    """What needs a person, and what the services did."""
    wants_all = visit.asked("all") == "1"
    found = await visit.client.list_alerts(is_open=None if wants_all else True, limit=SHOWN)
    services = [] if _is_limited(visit) else await visit.client.list_services()
    return visit.page(
        "alerts.html", tab="alerts", alerts=found, wants_all=wants_all, services=services, rules=RULES, most=SHOWN
    )


async def show_storage(visit: Visit) -> Response:
    """How big everything is, how it grows, and what is slow."""
    _refuse_limited(visit)
    return visit.page("storage.html", tab="storage", storage=await visit.client.get_storage())


async def show_archive(visit: Visit) -> Response:
    """What the retention policy would do now, and the archives."""
    _refuse_limited(visit)
    retention = visit.settings.retention
    plans = await visit.client.run(plan_retention(retention))
    archives = await visit.client.run(list_archives(limit=SHOWN))
    return visit.page(
        "archive.html", tab="archive", plans=plans, archives=archives, is_set=retention.is_set,
        is_working=_archiving.locked(),
    )  # fmt: skip


async def show_verification(visit: Visit) -> Response:
    """The deployment report, looked up and tried now."""
    _refuse_limited(visit)
    verification = await run_in_threadpool(lambda: Deployment(visit.settings).verify())
    return visit.page("verification.html", tab="verification", verification=verification)


async def show_tokens(visit: Visit) -> Response:
    """The tokens of the HTTP server: never their texts."""
    if not visit.may(ADMIN):
        raise Forbidden("tokens are for the scope admin", code="scope_missing", scope=ADMIN)
    known = await run_in_threadpool(TokenFile(visit.settings.home).known)
    return visit.page("tokens.html", tab="tokens", tokens=known)


async def show_audit(visit: Visit) -> Response:
    """What people did."""
    found = await visit.client.list_actions(subject=visit.asked("subject"), limit=SHOWN)
    return visit.page("audit.html", tab="audit", actions=found, subject=visit.asked("subject"), most=SHOWN)


async def acknowledge(visit: Visit) -> Response:
    """Say that this person has seen an alert."""
    try:
        alert_id = UUID(visit.request.path_params["alert_id"])
    except ValueError:
        raise InvalidInput("that address names no alert", code="alert_id") from None
    change = acknowledge_alert(alert_id, person=visit.person)
    await visit.client.run(
        audited(change, "acknowledge_alert", str(alert_id), person=visit.person, via="dashboard")
    )
    return visit.redirect("/operations", done="acknowledged")


async def archive_now(visit: Visit) -> Response:
    """Archive what is due, by a thread of its own in passes of the service: the pages show what they report."""
    _refuse_limited(visit)
    if not visit.settings.retention.is_set:
        raise Conflict("no retention policy is set; see docs/archive.md", code="no_policy")
    if not _archiving.acquire(blocking=False):
        raise Conflict("the archive is at work already; load its page again", code="archive_busy")
    await visit.client.record_action("run_archive", "archive", person=visit.person, via="dashboard")

    def work() -> None:
        try:
            with SessionContinuity(visit.settings) as client:
                service, holder = Archiving(visit.settings), new_holder()
                while run_pass(client, service, holder=holder)[0].more:
                    pass
        except (SessionContinuityError, OSError) as error:
            _log.warning("archive_failed", reason=type(error).__name__)
        finally:
            _archiving.release()

    threading.Thread(target=work, name="archive-now", daemon=True).start()
    return visit.redirect("/operations/archive", done="archiving")


async def revoke_token(visit: Visit) -> Response:
    """Take a token away."""
    name = visit.form.get("token", "")
    await run_in_threadpool(TokenFile(visit.settings.home).revoke, name)
    await visit.client.record_action("revoke_token", name, person=visit.person, via="dashboard")
    return visit.redirect("/operations/tokens", done="revoked")


def _is_limited(visit: Visit) -> bool:
    return visit.viewer is not None and visit.viewer.projects is not None


def _refuse_limited(visit: Visit) -> None:
    if _is_limited(visit):
        raise Forbidden("this is not for those who may see some projects alone", code="project_not_allowed")
