"""A TCP proxy before a PostgreSQL that loses, delays and swallows what it is told to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

READY = b"Z\x00\x00\x00\x05"
"""How the server ends an answer; I follows when no transaction is open: what it did is committed."""

Mode = Literal["pass", "swallow", "black hole"]


class Proxy:
    """`conninfo` leads through it. `mode`: pass; swallow (requests pass, answers do not); black hole (connections
    are accepted, nothing passes). `lose(n)` cuts the connection in place of each of the next n answers to
    something that was committed."""

    def __init__(self, target: str) -> None:
        given = conninfo_to_dict(target)
        self._host, self._port = str(given["host"]), int(given.get("port") or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._to_lose = 0
        self.lost = 0
        self.mode: Mode = "pass"
        given.pop("requirepeer", None)
        self.conninfo = make_conninfo(
            "",
            **{**given, "host": "127.0.0.1", "port": self._listener.getsockname()[1]},
            sslmode="disable",
            gssencmode="disable",
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def lose(self, answers: int = 1) -> None:
        with self._lock:
            self._to_lose = answers

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            for each in self._sockets:
                _end(each)
            self._sockets.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                with self._lock:
                    self._sockets += [client, server]
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answers, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket:
        if self._host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._host}/.s.PGSQL.{self._port}")
            return server
        return socket.create_connection((self._host, self._port))

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.mode != "black hole":
                    server.sendall(data)
        _end(client)
        _end(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        started = False
        held = b""
        with suppress(OSError):
            while data := server.recv(65536):
                if self.mode != "pass":
                    continue
                if started and self._to_lose:
                    held += data
                    if held[-6:-1] != READY:
                        continue
                    if held.endswith(b"I"):
                        with self._lock:
                            self._to_lose -= 1
                            self.lost += 1
                        break
                    data = b""
                client.sendall(held + data)
                held = b""
                started = started or data.endswith(READY + b"I")
        _end(client)
        _end(server)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
