"""The channels of the alerts: a webhook, and whatever the extra `notify` can reach."""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from importlib import import_module
from typing import Any, Protocol

import orjson

from session_continuity.domain.alert_rules import AlertSettings, Rule
from session_continuity.domain.alerts import Delivery, summary_of

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a channel is told. `id` is the same for every attempt, so that who gets it twice can tell. `news` is
    raised, resolved or test."""

    id: str
    news: str
    rule: str
    subject: str
    project: str | None
    severity: str
    summary: str
    details: Mapping[str, Any]
    raised_at: datetime

    @classmethod
    def of(cls, delivery: Delivery) -> Message:
        """The message of a delivery."""
        alert = delivery.alert
        return cls(
            id=delivery.id, news=delivery.news, rule=alert.rule, subject=alert.subject, project=alert.project,
            severity=alert.severity, summary=alert.summary, details=alert.details, raised_at=alert.raised_at,
        )  # fmt: skip

    @classmethod
    def of_machine(cls, rule: Rule, news: str, host: str, details: Mapping[str, Any], *, alert_id: str) -> Message:
        """What a machine tells while it can't ask the database for an alert."""
        return cls(
            id=f"{alert_id}:{news}", news=news, rule=rule.name, subject=host, project=None, severity=rule.severity,
            summary=summary_of(rule.name, host, details), details=details, raised_at=datetime.now(UTC),
        )  # fmt: skip


class Channel(Protocol):
    """`name` tells two channels apart, without a secret in it."""

    @property
    def name(self) -> str: ...

    def send(self, message: Message) -> str | None:
        """Send it: None when it arrived, else why not. Raises nothing."""
        ...


def channels_of(settings: AlertSettings) -> list[Channel]:
    """The channels that the settings name."""
    found: list[Channel] = []
    if settings.webhook is not None:
        found.append(Webhook(settings.webhook, settings.webhook_secret))
    return found + [Notify(url) for url in settings.notify]


class Webhook:
    """POSTs the message as JSON. `Idempotency-Key` is the message's id. With a secret, `Continuity-Signature` is
    `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds, a dot and the body. No redirect is followed."""

    def __init__(self, url: str, secret: str | None) -> None:
        self.name = f"webhook {_mark(url)}"
        self._url, self._secret = url, secret
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(self, message: Message) -> str | None:
        """Send it: any status of success is an arrival."""
        body = orjson.dumps(asdict(message))
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.id}
        if self._secret is not None:
            seconds = str(int(time.time()))
            signed = hmac.new(self._secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
            headers["Continuity-Signature"] = f"t={seconds},v1={signed}"
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - checked in settings
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS):
                return None
        except urllib.error.HTTPError as error:
            error.close()
            return f"the server answered {error.code}"
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            return f"{type(reason).__name__}: {getattr(reason, 'strerror', None) or 'no answer'}"


class Notify:
    """Sends by Apprise to one of its URLs. Its 170 services are loaded by the first message."""

    def __init__(self, url: str) -> None:
        self.name = f"{url.partition('://')[0]} {_mark(url)}"
        self._url = url

    def send(self, message: Message) -> str | None:
        """Send it by the extra `notify`."""
        try:
            apprise: Any = import_module("apprise")
        except ImportError:
            return "the extra is not installed: pip install 'session-continuity[notify]'"
        target: Any = apprise.Apprise()
        if not target.add(self._url):
            return "Apprise does not know that URL"
        title = f"{message.severity}: {message.rule} {message.news}"
        try:
            arrived = target.notify(title=title, body=message.summary, body_format="text")
        except Exception as error:  # whatever one of its 170 services raises ends no other delivery
            return type(error).__name__
        return None if arrived else "Apprise could not deliver it"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _mark(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:12]
