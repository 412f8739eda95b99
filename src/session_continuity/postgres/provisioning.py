"""Sets up a server for the report's deployment: its database, its roles, the tables. What is there already
stays as it is, and several may do this at once."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from session_continuity.domain.errors import InvalidInput, Refused
from session_continuity.postgres import migrations
from session_continuity.postgres.database import connect
from session_continuity.postgres.statements import statement

Connection = psycopg.Connection[tuple[Any, ...]]

_LOCK = 0x73_63_64_70  # "scdp"
_SCHEMA_CHANGE_SECONDS = 600.0
_WRITER = "continuity_writer"
_REPORT_ROLE = "supervisor"
_FOR_OTHERS = ("host", "hostaddr", "port", "dbname", "sslmode", "sslrootcert")
_AUTHORITY = ("user", "password", "host", "port", "dbname")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What a deployment left: `changes` names what was missing and made, and is empty when all was there;
    `url` is how the role connects, without its password; `hints` say what is left to do."""

    database: str
    role: str
    changes: tuple[str, ...]
    migrations: tuple[str, ...]
    url: str
    hints: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return bool(self.changes)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"changed": self.changed}


def deploy(admin: str, *, database: str, role: str, password: str | None) -> Deployed:
    """Make what is missing, as the administrator of the conninfo `admin`. Raises Refused naming the privilege
    that the administrator lacks, InvalidInput, Unavailable."""
    for name, value in (("database", database), ("role", role)):
        if not 1 <= len(value.encode()) <= 63 or "\0" in value:
            raise InvalidInput(f"the name of the {name} must have 1 to 63 bytes", code=f"{name}_name")
    if password is not None and (not password or "\0" in password):
        raise InvalidInput("that can't be a password", code="password")
    with connect(admin, _SCHEMA_CHANGE_SECONDS) as connection:
        changes = _make_database(connection, database)
    inside = make_conninfo(admin, dbname=database)
    with connect(inside, _SCHEMA_CHANGE_SECONDS) as connection:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            for each, login in ((_REPORT_ROLE, role == _REPORT_ROLE), (_WRITER, False), (role, True)):
                changes += _make_role(connection, each, login=login)
            changes += _set_password(connection, role, password)
            changes += _grant(connection, role, database)
        _require_schema(connection)
        applied = migrations.upgrade(connection)
        hints = () if password is not None or _has_password(connection, role) else (_password_hint(role),)
    for_others = {key: value for key, value in conninfo_to_dict(inside).items() if key in _FOR_OTHERS}
    return Deployed(
        database=database,
        role=role,
        changes=(*changes, *(f"applied {migration.file}" for migration in applied)),
        migrations=tuple(migration.file for migration in applied),
        url=connection_url(make_conninfo("", **for_others, user=role)),
        hints=hints,
    )


def connection_url(conninfo: str) -> str:
    """A conninfo as the URL that psql and other clients take, its password with it."""
    if conninfo.startswith(("postgresql://", "postgres://")):
        return conninfo
    parts = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    user, password = (quote(parts.get(key, ""), safe="") for key in ("user", "password"))
    host, port = parts.get("host", ""), parts.get("port", "")
    extra = {key: value for key, value in parts.items() if key not in _AUTHORITY}
    if host.startswith(("/", "@")) or "," in host + port:
        extra |= {key: parts[key] for key in ("host", "port") if key in parts}
        host = port = ""
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    who = user + (f":{password}" if password else "")
    return (
        "postgresql://"
        + (f"{who}@" if who else "")
        + place
        + (f":{port}" if port else "")
        + f"/{quote(parts.get('dbname', ''), safe='')}"
        + (f"?{urlencode(extra, quote_via=quote)}" if extra else "")
    )


def delete_session(connection: Connection, instance_id: str) -> bool:
    """Delete a session with all its rows; a tombstone says that it was there. False when there was none."""
    return bool(connection.execute(statement("delete_session"), {"instance_id": instance_id}).fetchall())


def _make_database(connection: Connection, database: str) -> list[str]:
    found = connection.execute(
        "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = %s", (database,)
    ).fetchone()
    if found is not None:
        if found[0] != "UTF8":
            raise Refused(f"database {database} is in {found[0]}; text needs UTF8", code="encoding")
        return []
    create = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(database))
    with _privilege_named(connection, f"create the database {database}", "CREATEDB"):
        try:
            connection.execute(create)
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            return []  # made by another deployment at the same moment
    return [f"created database {database}"]


def _make_role(connection: Connection, role: str, *, login: bool) -> list[str]:
    name, kind = sql.Identifier(role), sql.SQL("LOGIN" if login else "NOLOGIN")
    made = False
    if _role(connection, role) is None:
        # A deployment of another database may make it at the same moment.
        with (
            _privilege_named(connection, f"create the role {role}", "CREATEROLE"),
            suppress(errors.DuplicateObject, errors.UniqueViolation),
            connection.transaction(),
        ):
            connection.execute(sql.SQL("CREATE ROLE {} {}").format(name, kind))
            made = True
    if made:
        return [f"created role {role}"]
    can_login, is_superuser = _role(connection, role) or (login, False)
    if is_superuser:
        raise Refused(f"role {role} is a superuser; name one that is not", code="role_superuser", role=role)
    if login and not can_login:
        with _privilege_named(connection, f"let the role {role} log in", f"CREATEROLE with ADMIN on {role}"):
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(name))
        return [f"let role {role} log in"]
    return []


def _role(connection: Connection, role: str) -> tuple[Any, ...] | None:
    return connection.execute("SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = %s", (role,)).fetchone()


def _set_password(connection: Connection, role: str, password: str | None) -> list[str]:
    """Sends the verifier that the server would store, so that no log of it ever holds the password."""
    if password is None or _has_password(connection, role, password):
        return []
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    command = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
    with _privilege_named(connection, f"set the password of {role}", f"CREATEROLE with ADMIN on {role}"):
        connection.execute(command)
    return [f"set the password of role {role}"]


def _has_password(connection: Connection, role: str, password: str | None = None) -> bool:
    """Whether the role has this password, or any; False where only a superuser could tell."""
    try:
        with connection.transaction():
            rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,)).fetchall()
    except errors.InsufficientPrivilege:
        return False
    stored = rows[0][0] if rows else None
    if password is None or stored is None:
        return stored is not None
    kind, _, rest = stored.partition("$")
    iterations, _, rest = rest.partition(":")
    salt, _, keys = rest.partition("$")
    if kind != "SCRAM-SHA-256":
        return False
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = base64.b64decode(keys.partition(":")[0])
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored_key)


def _grant(connection: Connection, role: str, database: str) -> list[str]:
    name, changes = sql.Identifier(role), list[str]()
    may_connect = statement("may_connect").encode()
    asked = {"role": role, "database": database}
    if not connection.execute(may_connect, asked).fetchall():
        with _privilege_named(connection, f"let {role} connect to {database}", f"ownership of {database}"):
            connection.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), name)
            )
        if connection.execute(may_connect, asked).fetchall():
            changes.append(f"let role {role} connect to {database}")
    is_member = connection.execute("SELECT pg_has_role(%s, %s, 'MEMBER')", (role, _REPORT_ROLE)).fetchall()
    if not is_member[0][0]:
        with _privilege_named(connection, f"make {role} a member of {_REPORT_ROLE}", f"ADMIN on {_REPORT_ROLE}"):
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(_REPORT_ROLE), name))
        changes.append(f"made role {role} a member of {_REPORT_ROLE}")
    return changes


def _require_schema(connection: Connection) -> None:
    may_create = "SELECT current_user, current_database(), has_schema_privilege('public', 'CREATE')"
    user, database, allowed = connection.execute(may_create).fetchall()[0]
    if not allowed and not migrations.is_current(connection):
        raise Refused(
            f"{user} may not create tables in {database}: it lacks CREATE on schema public; deploy as the"
            f" owner of {database}",
            code="privilege_missing",
            privilege="CREATE ON SCHEMA public",
        )


@contextmanager
def _privilege_named(connection: Connection, action: str, privilege: str) -> Generator[None]:
    user = connection.info.user
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise Refused(
            f"{user} may not {action}: it lacks {privilege} ({error.diag.message_primary})",
            code="privilege_missing",
            privilege=privilege,
        ) from None


def _password_hint(role: str) -> str:
    return f"role {role} was given no password: it can log in only where the server asks for none"
