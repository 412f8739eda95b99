"""Forwards a machine's spool to the resident server of another, in order, exactly once by the records' names.

A record leaves this spool only after the other one has it durably. When an answer is lost, the records are sent
again: the other side knows them by their names.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from session_continuity.capture.facts.facts import JSON
from session_continuity.capture.spool.spool import Spool, SpoolRecord
from session_continuity.domain.errors import InvalidInput, NotFound, Unavailable
from session_continuity.domain.text import printable, shorten

BATCH_RECORDS = 200
BATCH_BYTES = 4 * 2**20
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0
_LARGEST_ANSWER = 2**20
_CAPACITY_SECONDS = 5.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CODE = re.compile(r"[a-z][a-z_]{0,40}")
_TOKEN = re.compile(r"[!-~]{1,500}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where to: a resident server, and the token that it knows."""

    scheme: str
    host: str
    port: int
    path: str
    token: str

    @property
    def url(self) -> str:
        """Without the token."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{name}:{self.port}{self.path}"

    @classmethod
    def of(cls, url: str, token: str, *, plain: bool = False) -> Destination:
        """The destination of a URL like https://host:port; with `plain` http to another machine is allowed.

        Raises InvalidInput for another scheme, a URL with user or query, a token that no header can hold, and for
        http to another machine, where token and records would travel readable for all.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            host = parts.hostname or ""
        except (ValueError, KeyError):
            host, port, parts = "", 0, urlsplit("")
        if not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise InvalidInput("name the server like https://host:port", code="url")
        if not _TOKEN.fullmatch(token):
            raise InvalidInput("the token is empty or holds characters that no token has", code="token")
        if parts.scheme == "http" and not plain and not _is_loopback(host):
            raise InvalidInput(
                "http to another machine shows token and records to its network; use https or a tunnel, or"
                " allow it with --plain-http",
                code="url_not_encrypted",
            )
        path = parts.path.rstrip("/") + "/capture"
        return cls(scheme=parts.scheme, host=host, port=port, path=path, token=token)


def this_host() -> str:
    """The name of this machine in a form that every server takes."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")
    return name[:64] or "unnamed"


class Forwarder:
    """Sends what waits in a spool, a batch at a time."""

    def __init__(
        self, spool: Spool, destination: Destination, *, host: str, redact: Callable[[JSON], JSON]
    ) -> None:
        """`redact` sees every payload before it leaves the machine; what is no JSON is quarantined here."""
        self._spool, self._destination = spool, destination
        self._host, self._redact = host, redact
        self._most = BATCH_RECORDS
        self._look_at_capacity = 0.0

    def send_batch(self) -> bool:
        """Send the oldest records; True when there may be more. The caller holds the spool's lock.

        Raises Unavailable when the server can't be reached, does not know the token, or has no room: then
        everything stays.
        """
        if time.monotonic() > self._look_at_capacity:
            self._look_at_capacity = time.monotonic() + _CAPACITY_SECONDS
            self._spool.remove_torn()
            self._spool.keep_capacity()
        names, records = self._batch()
        if records:
            self._send(names, records)
        return bool(names)

    def _batch(self) -> tuple[list[str], list[dict[str, Any]]]:
        names: list[str] = []
        records: list[dict[str, Any]] = []
        size = 0
        for record in self._waiting():
            try:
                form = self._form(record)
            except InvalidInput as error:
                self._spool.quarantine(record.name, error.stable_code, error.message)
                continue
            size += len(form["payload"])
            if records and size > BATCH_BYTES:
                break
            names.append(record.name)
            records.append(form)
        return names, records

    def _waiting(self) -> Iterator[SpoolRecord]:
        for name in self._spool.names()[: self._most]:
            with suppress(NotFound):
                yield self._spool.read(name)

    def _form(self, record: SpoolRecord) -> dict[str, Any]:
        try:
            payload = json.dumps(self._redact(json.loads(record.payload)))
        except (ValueError, RecursionError):
            raise InvalidInput("it is no JSON and so could not be redacted", code="payload_not_json") from None
        except Exception as error:
            # Fails closed: what could not be redacted does not leave the machine.
            raise InvalidInput(f"redaction failed with {type(error).__name__}", code="internal") from error
        return {
            "name": record.name,
            "harness": record.harness,
            "event": record.event,
            "host": record.host or self._host,
            "captured_at": (record.captured_at - _EPOCH) // _MICROSECOND * 1_000,
            "client_pid": record.client_pid,
            "payload": base64.b64encode(payload.encode()).decode(),
        }

    def _send(self, names: Sequence[str], records: Sequence[dict[str, Any]]) -> None:
        status, answer = self._ask(json.dumps({"records": records}).encode())
        told = str(answer.get("message", "no reason given"))
        if status == 413 and len(names) > 1:
            self._most = max(1, len(names) // 2)
            return
        self._most = BATCH_RECORDS
        if status == 413:
            self._quarantine(names[0], {"error": answer.get("error"), "message": told})
        elif status in (200, 422) and _is_whole(answer, len(names)):
            refused = {each["place"]: each for each in answer["refused"]}
            for place, name in enumerate(names):
                if place in refused:
                    self._quarantine(name, refused[place])
                else:
                    self._spool.remove(name)
        elif status in (401, 403):
            raise Unavailable(f"{self._destination.url} does not take this token: {_shown(told)}")
        else:
            raise Unavailable(f"{self._destination.url} answers {status}: {_shown(told)}")

    def _quarantine(self, name: str, refusal: dict[str, Any]) -> None:
        code = str(refusal.get("error"))
        reason = _shown(str(refusal.get("message")))
        self._spool.quarantine(
            name, code if _CODE.fullmatch(code) else "refused", f"refused by the server: {reason}"
        )

    def _ask(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and answer; an answer that is no JSON object counts as an empty one."""
        there = self._destination
        kind = http.client.HTTPSConnection if there.scheme == "https" else http.client.HTTPConnection
        connection = kind(there.host, there.port, timeout=CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {there.token}", "Content-Type": "application/json"}
        try:
            connection.connect()
            connection.sock.settimeout(ANSWER_SECONDS)
            connection.request("POST", there.path, body, headers)
            response = connection.getresponse()
            content = response.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"{there.url} can't be reached: {_shown(str(error) or type(error).__name__)}"
            ) from None
        finally:
            connection.close()
        try:
            answer: Any = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        return response.status, cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}


def _is_whole(answer: dict[str, Any], sent: int) -> bool:
    """Whether the answer speaks of each record that was sent. Anything else may come from another server."""
    stored, refused = answer.get("stored"), answer.get("refused")
    if type(stored) is not int or not isinstance(refused, list):
        return False
    entries = [cast("dict[str, Any]", each) for each in cast("list[Any]", refused) if isinstance(each, dict)]
    if len(entries) != len(cast("list[Any]", refused)):
        return False
    places = {each.get("place") for each in entries}
    return len(places) == len(entries) == sent - stored and places <= set(range(sent))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _shown(text: str) -> str:
    return printable(shorten(text, 300))
