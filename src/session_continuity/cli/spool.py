"""continuity spool: what was captured and is not stored yet, and what can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from session_continuity.cli.arguments import Call, Group, limit_option, pass_call
from session_continuity.cli.output import json_text, write_fields, write_note, write_table, write_text

if TYPE_CHECKING:
    from session_continuity.capture.spool.spool import Spool, SpoolStatus

State = Literal["waiting", "quarantined"]


@click.group(cls=Group)
def spool() -> None:
    """Show captured records that are not stored yet, and deal with those that can't be."""


@spool.command("list", examples=("continuity spool list", "continuity spool list --state quarantined --json"))
@click.option("--state", type=click.Choice(["waiting", "quarantined"]), help="Only these.")
@click.option("--acknowledge-lost", is_flag=True, help="Set the count of lost records back to 0.")
@limit_option(100)
@pass_call
def list_records(call: Call, state: State | None, acknowledge_lost: bool, limit: int) -> None:
    """List what waits to be stored and what is in quarantine, and count what was lost."""
    opened = _open(call)
    status = opened.status()
    if acknowledge_lost:
        opened.acknowledge_losses()
    records = _records(opened, state, limit)
    answer = {name: getattr(status, name) for name in status.__dataclass_fields__} | {"records": records}
    call.answer(answer, lambda: _show_list(status, records, acknowledge_lost))


@spool.command("show", examples=("continuity spool show 0f0ab6c22d31",))
@click.argument("name")
@pass_call
def show_record(call: Call, name: str) -> None:
    """Show one record with its payload as the harness told it; NAME may be the id that the list shows."""
    opened = _open(call)
    found = _find(opened, name)
    payload = _payload(opened.read(found["name"]).payload)

    def show() -> None:
        write_fields(found)
        write_text(payload if isinstance(payload, str) else json_text(payload, indented=True))

    call.answer(found | {"payload": payload}, show)


@spool.command("retry", examples=("continuity spool retry 0f0ab6c22d31", "continuity spool retry --all"))
@click.argument("names", metavar="[NAME...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is in quarantine.")
@pass_call
def retry(call: Call, names: tuple[str, ...], everything: bool) -> None:
    """Let records out of quarantine, so that the next drain tries them again."""
    opened = _open(call)
    chosen = _chosen(opened, names, everything)
    for record in chosen:
        opened.retry(record["name"])
    call.answer(
        {"retried": [record["name"] for record in chosen]}, lambda: _show_done(chosen, "will be tried again")
    )


@spool.command("drop", examples=("continuity spool drop 0f0ab6c22d31 --yes", "continuity spool drop --all"))
@click.argument("names", metavar="[NAME...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is in quarantine.")
@click.option("--yes", is_flag=True, help="Do it: the records are lost.")
@pass_call
def drop(call: Call, names: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Delete records that are in quarantine; shows them and does nothing without --yes."""
    from session_continuity.cli.confirmation import confirm

    opened = _open(call)
    chosen = _chosen(opened, names, everything)
    plan = [record["name"] for record in chosen]
    if chosen and not yes:
        confirm(call, "this deletes captured records", plan, lambda: _show_table(chosen))
    for name in plan:
        opened.drop(name)
    call.answer({"dropped": plan}, lambda: _show_done(chosen, "deleted"))


def _open(call: Call) -> Spool:
    from session_continuity.capture.spool.spool import open_spool

    return open_spool(call.settings)


def _records(opened: Spool, state: State | None, limit: int) -> list[dict[str, Any]]:
    """The records of a state, or of both, each oldest first."""
    found: list[dict[str, Any]] = []
    if state != "quarantined":
        found += [_described("waiting", record) for record in opened.waiting(limit)]
    if state != "waiting":
        found += [_described("quarantined", record) for record in opened.quarantined()[: limit - len(found)]]
    return found


def _described(state: State, record: Any) -> dict[str, Any]:
    from session_continuity.capture.spool.names import parse_name

    parts = parse_name(record.name)
    told = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {
        "id": parts.random[-12:],
        "state": state,
        "harness": parts.harness,
        "event": parts.event,
        "client_pid": parts.client_pid or None,
        "host": parts.host,
        **told,
    }


def _find(opened: Spool, wanted: str, state: State | None = None) -> dict[str, Any]:
    """The record of this name or id. Raises NotFound, Ambiguous."""
    from session_continuity.domain.errors import Ambiguous, NotFound

    found = [record for record in _records(opened, state, 2**31) if wanted in (record["name"], record["id"])]
    if not found:
        where = "in quarantine" if state == "quarantined" else "in the spool"
        raise NotFound(f"{wanted!r} is not {where}; see `continuity spool list`", code="record_not_found")
    if len(found) > 1:
        names = [record["name"] for record in found]
        raise Ambiguous(f"{wanted!r} names {len(names)} records; give one in full", matches=names)
    return found[0]


def _chosen(opened: Spool, names: tuple[str, ...], everything: bool) -> list[dict[str, Any]]:
    if bool(names) == everything:
        raise click.UsageError("Name the records, or give --all.")
    if everything:
        return _records(opened, "quarantined", 2**31)
    return [_find(opened, name, "quarantined") for name in dict.fromkeys(names)]


def _payload(content: bytes) -> object:
    """The payload as JSON, or as text where it is none."""
    from json import loads

    try:
        return loads(content)
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")


def _show_list(status: SpoolStatus, records: list[dict[str, Any]], acknowledged: bool) -> None:
    _show_table(records)
    write_note(f"{status.waiting} waiting, {status.quarantined} in quarantine, {status.bytes:,} bytes")
    if status.full:
        write_note("THE SPOOL IS FULL: hooks keep nothing now; start a drain, or raise the setting spool_bytes")
    if status.foreign:
        write_note(f"{status.foreign} files in the folder are no records and are left alone")
    if status.lost and acknowledged:
        write_note(f"{status.lost} lost records acknowledged")
    elif status.lost:
        write_note(f"{status.lost} RECORDS WERE LOST: the disk or the spool was full; see --acknowledge-lost")


def _show_table(records: list[dict[str, Any]]) -> None:
    columns = ("id", "state", "captured_at", "harness", "event", "bytes", "code", "reason")
    rows = [[record.get(column) for column in columns] for record in records]
    write_table(columns, rows, nothing="the spool is empty")


def _show_done(records: list[dict[str, Any]], done: str) -> None:
    for record in records:
        write_text(record["name"])
    write_note(f"{len(records)} {done}")
