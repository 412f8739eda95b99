"""Secrets of the common kinds, made anew for each run so that none stands in the repository, and the texts that
people, agents and programs write them in."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


@dataclass(frozen=True)
class Planted:
    """A secret, and a text that holds it."""

    kind: str
    secret: str
    text: str
    is_token: bool = False


class Planter:
    """Makes secrets, each another one."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def some(self, count: int, of: str = LETTERS) -> str:
        return "a1Z"[: count if of == LETTERS else 0] + "".join(
            self._random.choice(of) for _ in range(count - (3 if of == LETTERS else 0))
        )

    def all(self) -> list[Planted]:
        """One of each kind."""
        return [*self.tokens(), *self.written()]

    def tokens(self) -> list[Planted]:
        """Those that are known by how they begin."""
        forms: dict[str, Callable[[], str]] = {
            "github": lambda: "gh" + "p_" + self.some(36),
            "gitlab": lambda: "glp" + "at-" + self.some(20),
            "anthropic": lambda: "sk-" + "ant-api03-" + self.some(40),
            "openai": lambda: "sk-" + "proj-" + self.some(48),
            "aws id": lambda: "AK" + "IA" + self.some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
            "slack": lambda: "xo" + "xb-" + self.some(12, string.digits) + "-" + self.some(24),
            "stripe": lambda: "sk_" + "live_" + self.some(24),
            "google": lambda: "AI" + "za" + self.some(35),
            "npm": lambda: "np" + "m_" + self.some(36),
            "hugging face": lambda: "h" + "f_" + self.some(34),
            "jwt": lambda: ".".join(("ey" + "J" + self.some(20), "eyJ" + self.some(40), self.some(43))),
        }
        secrets = {kind: make() for kind, make in forms.items()}
        return [Planted(kind, secret, f"use {secret} for it", is_token=True) for kind, secret in secrets.items()]

    def written(self) -> list[Planted]:
        """Those that are known by what stands before them."""
        forms = {
            "variable": "export DB_PASSWORD={}\nmake run",
            ".env": "HOST=db\nAPI_TOKEN={}\nPORT=5432",
            "yaml": "db:\n  password: {}\n",
            "json": '{{"client_secret": "{}", "n": 1}}',
            "python": 'connect(password="{}")',
            "header": "curl -H 'Authorization: Bearer {}' https://api.example/",
            "user": "curl -u bob:{} https://api.example/",
            "mysql": "mysql -u root -p{} shop",
            "url": "psql postgresql://shop:{}@db.example/shop",
            "option": "deploy --token {} --now",
            "sentence": "the password is {} until Monday",
        }
        planted = [(kind, self.some(22), form) for kind, form in forms.items()]
        key = "\n".join(self.some(64) for _ in range(3))
        frame = "-----{} RSA PRIVATE " + "KEY-----"
        planted.append(("private key", key, f"{frame.format('BEGIN')}\n{{}}\n{frame.format('END')}"))
        return [Planted(kind, secret, form.format(secret)) for kind, secret, form in planted]


def needles(planted: Planted) -> list[bytes]:
    """What may not be found: the secret, its lines, and its base64."""
    encoded = base64.b64encode(planted.text.encode()).decode()
    return [part.encode() for part in (*planted.secret.split("\n"), encoded)]
