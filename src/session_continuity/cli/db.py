"""continuity db: the database that holds the records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import Call, Group, pass_call, read_stdin
from session_continuity.cli.confirmation import confirm
from session_continuity.cli.failures import FAILED
from session_continuity.cli.output import write_fields, write_note, write_table, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from session_continuity.deployment import Deployment, DeploymentStatus, Migration, Verification


@click.group(cls=Group)
def db() -> None:
    """Set up, inspect, verify and stop the database."""


@db.command("upgrade", examples=("continuity db upgrade",))
@pass_call
def upgrade(call: Call) -> None:
    """Apply the migrations that are pending."""
    applied = _deployment(call).upgrade()
    answer = {"applied": _named(applied)}
    call.answer(answer, lambda: _show_migrations(applied, nothing="everything is applied already"))


@db.command(
    "downgrade",
    examples=("continuity db downgrade", "continuity db downgrade --to 1769730000000 --yes"),
)
@click.option("--to", metavar="VERSION", help="Keep this migration and those before it (default: undo all).")
@click.option("--yes", is_flag=True, help="Do it: what the migrations hold is lost.")
@pass_call
def downgrade(call: Call, to: str | None, yes: bool) -> None:
    """Undo migrations, the latest first; shows the plan and does nothing without --yes."""
    deployment = _deployment(call)
    plan = deployment.plan_downgrade(to)
    if plan and not yes:
        consequence = "this undoes the migrations and loses what they hold"
        confirm(call, consequence, _named(plan), lambda: _show_migrations(plan, nothing=""))
    undone = deployment.downgrade(to) if plan else []
    answer = {"undone": _named(undone)}
    call.answer(answer, lambda: _show_migrations(undone, nothing="there is nothing to undo"))


@db.command("status", examples=("continuity db status --json",))
@pass_call
def status(call: Call) -> None:
    """Show where the records are, whether the server runs, and the migrations; starts nothing."""
    found = _deployment(call).status()
    call.answer(found, lambda: _show_status(found))


@db.command("url", examples=('psql "$(continuity db url)"',))
@pass_call
def url(call: Call) -> None:
    """Print the URL for psql and other clients, with the password if the DSN holds one."""
    answer = _deployment(call).url()
    call.answer({"url": answer}, lambda: write_text(answer))


@db.command("stop")
@pass_call
def stop(call: Call) -> None:
    """Stop the embedded server."""
    stopped = _deployment(call).stop()
    call.answer({"stopped": stopped}, lambda: write_note("stopped" if stopped else "it was not running"))


@db.command("verify", examples=("continuity db verify", "continuity db verify --json > verification.json"))
@click.pass_context
@pass_call
def verify(call: Call, ctx: click.Context) -> None:
    """Verify tables, access paths, permissions and guarantees live; fails when one does not hold."""
    found = _deployment(call).verify()
    call.answer(found, lambda: _show_verification(found))
    if not found.passed:
        ctx.exit(FAILED)


@db.command(
    "deploy",
    examples=(
        "continuity db deploy --dsn postgresql://postgres@db.example/postgres",
        "continuity db deploy --dsn service=admin --role supervisor --password-stdin < password",
    ),
)
@click.option("--database", default="supervisor_meta", show_default=True, help="Database to make.")
@click.option("--role", default="supervisor", show_default=True, help="Role that will connect.")
@click.option("--password-stdin", is_flag=True, help="Read the role's password from standard input.")
@pass_call
def deploy(call: Call, database: str, role: str, password_stdin: bool) -> None:
    """Set up a server from nothing, as the administrator that --dsn names; what is there stays."""
    from session_continuity.deployment import Deployment

    dsn = call.settings.dsn
    if dsn is None:
        raise click.UsageError("name the administrator's connection with --dsn.")
    password = read_stdin("password").removesuffix("\n").removesuffix("\r") if password_stdin else None
    deployed = Deployment.deploy(dsn, database=database, role=role, password=password)
    call.answer(deployed, lambda: write_fields(deployed.as_json()))


def _deployment(call: Call) -> Deployment:
    from session_continuity.deployment import Deployment

    return Deployment(call.settings)


def _named(found: Sequence[Migration]) -> list[dict[str, str]]:
    return [{"version": migration.version, "name": migration.name} for migration in found]


def _show_migrations(found: Sequence[Migration], *, nothing: str) -> None:
    write_table(("version", "migration"), [(each.version, each.name) for each in found], nothing=nothing)


def _show_status(found: DeploymentStatus) -> None:
    write_fields({name: value for name, value in found.as_json().items() if name != "migrations"})
    write_table(
        ("version", "migration", "state", "applied"),
        [(each.version, each.name, each.state, each.applied_at) for each in found.migrations],
        nothing="the server does not run; any command that needs it starts it",
    )


def _show_verification(found: Verification) -> None:
    """One line for each thing that was verified; what failed says why."""
    rows: list[tuple[str, str, str, str]] = []

    def add(part: str, name: str, passed: bool, remark: str | None) -> None:
        rows.append(("ok" if passed else "FAILED", part, name, remark or "-"))

    for each in found.migrations:
        add("migration", each.name, each.state == "applied", None if each.state == "applied" else each.state)
    for each in found.tables:
        keys = f"{each.foreign_keys} foreign keys" if each.foreign_keys else f"referenced by {each.referenced_by}"
        measured = (
            f"{each.size_bytes / 1024:,.0f} kB, {'about ' if each.estimated else ''}{each.rows:,} rows,"
            f" {each.indexes} indexes, {keys}"
        )
        add("table", each.table, each.passed, measured if each.exists else "is missing")
    for each in found.access_paths:
        served = ", ".join(each.indexes)
        add("access path", f"{each.table} {each.columns}", each.passed, each.problem or served)
    for each in found.permissions:
        remark = None if each.passed else f"expected {each.expected}, found {each.found}"
        add("permission", f"{each.role} {each.relation or ''}".strip(), each.passed, remark)
    parts = (("test", found.checks), ("trigger", found.triggers), ("durability", found.durability))
    for part, checks in parts:
        for each in checks:
            add(part, each.name, each.passed, each.happened)
    write_table(("result", "part", "name", "remark"), rows, nothing="nothing to verify")
    failed = sum(row[0] != "ok" for row in rows)
    write_note(f"{found.database}: {len(rows) - failed} of {len(rows)} hold")
