"""The channels of the alerts: a webhook, and whatever the extra `notify` can reach."""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse
from importlib import import_module
from socket import SHUT_RDWR
from threading import Thread
from typing import Any, cast

import orjson

from session_continuity.domain.alert_rules import AlertSettings, Rule
from session_continuity.domain.alerts import Delivery, summary_of

TIMEOUT_SECONDS = 10.0
"""For the whole of a message, from looking up the name to the end of the answer."""


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


class Channel(ABC):
    """A way to reach a person. `name` tells two channels apart, without a secret in it."""

    def __init__(self, kind: str, url: str) -> None:
        self.name = f"{kind} {hashlib.sha256(url.encode()).hexdigest()[:12]}"
        self._url = url
        self._sending: Thread | None = None

    def send(self, message: Message) -> str | None:
        """Send it: None when it arrived, else why not. Ends within TIMEOUT_SECONDS, whatever the other side does,
        its name server too: that no timeout of a socket bounds the whole of it. Raises nothing."""
        if self._sending is not None and self._sending.is_alive():
            return "an earlier message still waits for its answer"
        outcomes: list[str | None] = []

        def exchange() -> None:
            try:
                outcomes.append(self._exchange(message))
            except Exception as error:  # whatever a service of Apprise raises ends no other delivery
                outcomes.append(type(error).__name__)

        self._sending = Thread(target=exchange, name=self.name, daemon=True)
        self._sending.start()
        self._sending.join(TIMEOUT_SECONDS)
        if outcomes:
            return outcomes[0]
        self._give_up()
        return f"no whole answer within {TIMEOUT_SECONDS:g} s"

    @abstractmethod
    def _exchange(self, message: Message) -> str | None:
        """Send it, for however long that takes: None when it arrived, else why not."""

    def _give_up(self) -> None:  # noqa: B027 - not every channel can
        """End the exchange that takes too long, if that can be done."""


def channels_of(settings: AlertSettings) -> list[Channel]:
    """The channels that the settings name."""
    found: list[Channel] = []
    if settings.webhook is not None:
        found.append(Webhook(settings.webhook, settings.webhook_secret))
    return found + [Notify(url) for url in settings.notify]


class Webhook(Channel):
    """POSTs the message as JSON. `Idempotency-Key` is the message's id. With a secret, `Continuity-Signature` is
    `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds, a dot and the body. No redirect is followed."""

    def __init__(self, url: str, secret: str | None) -> None:
        super().__init__("webhook", url)
        self._secret = secret
        self._connection: HTTPConnection | None = None
        self._opener = urllib.request.build_opener(_NoRedirect, _Http(self._keep), _Https(self._keep))

    def _exchange(self, message: Message) -> str | None:
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

    def _keep(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def _give_up(self) -> None:
        connected = self._connection and self._connection.sock
        if connected:
            with suppress(OSError):
                connected.shutdown(SHUT_RDWR)  # whoever reads from it reads its end


class Notify(Channel):
    """Sends by Apprise to one of its URLs. Its 170 services are loaded by the first message."""

    def __init__(self, url: str) -> None:
        super().__init__(url.partition("://")[0], url)

    def _exchange(self, message: Message) -> str | None:
        try:
            apprise: Any = import_module("apprise")
        except ImportError:
            return "the extra is not installed: pip install 'session-continuity[notify]'"
        target: Any = apprise.Apprise()
        if not target.add(self._url):
            return "Apprise does not know that URL"
        title = f"{message.severity}: {message.rule} {message.news}"
        arrived = target.notify(title=title, body=message.summary, body_format="text")
        return None if arrived else "Apprise could not deliver it"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Kept(urllib.request.AbstractHTTPHandler):
    """Shows each connection that it makes, so that another thread can end it."""

    def __init__(self, keep: Callable[[HTTPConnection], None]) -> None:
        super().__init__()
        self._keep = keep

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> HTTPResponse:
        def make(host: str, **more: Any) -> HTTPConnection:
            connection: HTTPConnection = http_class(host, **more)
            self._keep(connection)
            return connection

        return super().do_open(cast("Any", make), req, **options)


class _Http(_Kept, urllib.request.HTTPHandler):
    pass


class _Https(_Kept, urllib.request.HTTPSHandler):
    pass
