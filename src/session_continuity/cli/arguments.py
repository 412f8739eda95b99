"""What commands share: the options of every command, parameter types, and the call that each is given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from session_continuity.client import SessionContinuity
    from session_continuity.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_STDIN_LIMIT = 8 * 1_048_576


class Call:
    """One run of a command: the options of every command and what they lead to, opened on first use."""

    def __init__(self) -> None:
        self.options: dict[str, str] = {}
        self.as_json = False

    @cached_property
    def settings(self) -> Settings:
        from session_continuity.settings import load_settings

        return load_settings(**self.options)

    @cached_property
    def client(self) -> SessionContinuity:
        from session_continuity.client import SessionContinuity

        client = SessionContinuity(self.settings)
        click.get_current_context().call_on_close(client.close)
        return client

    def answer(self, value: object, show: Callable[[], None]) -> None:
        """Print the answer: with --json as the one document, else as `show` draws it."""
        if self.as_json:
            from session_continuity.cli.output import write_json

            write_json(value)
        else:
            show()


pass_call = click.make_pass_decorator(Call, ensure=True)


def _keep_option(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and parameter.name:
        ctx.ensure_object(Call).options[parameter.name] = value


def _keep_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value:
        ctx.ensure_object(Call).as_json = True


def _common_options(hidden: bool) -> list[click.Parameter]:
    return [
        click.Option(
            ["--dsn"],
            metavar="DSN",
            help="PostgreSQL to use instead of the embedded one (or CONTINUITY_DSN).",
            callback=_keep_option,
            expose_value=False,
            hidden=hidden,
        ),
        click.Option(
            ["--home"],
            metavar="FOLDER",
            help="Data folder of everything local (or CONTINUITY_HOME).",
            callback=_keep_option,
            expose_value=False,
            hidden=hidden,
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            help="Print one JSON document.",
            callback=_keep_json,
            expose_value=False,
            hidden=hidden,
        ),
    ]


def _epilog(examples: Sequence[str]) -> str | None:
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples) if examples else None


class Command(click.Command):
    """A command with the options of every command; `examples` are shown below its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, epilog=_epilog(examples), **attributes)
        self.params += _common_options(hidden=False)


class Group(click.Group):
    """A group whose commands have the options of every command; they may stand before the command as well."""

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, epilog=_epilog(examples), **attributes)
        self.params += _common_options(hidden=False)


class JsonType(click.ParamType[Any]):
    """JSON text, or `-` to read it from standard input; with `objects` nothing but a JSON object."""

    name = "json"

    def __init__(self, *, objects: bool) -> None:
        self._objects = objects

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        from session_continuity.domain.payload import decode_payload, encode_object

        if not isinstance(value, str):
            return value
        name = (param.name if param else None) or "json"
        decoded = decode_payload(name, read_stdin(name) if value == "-" else value)
        if self._objects:
            encode_object(name, decoded)
        return decoded


def read_stdin(name: str) -> str:
    """Everything on standard input as text. Raises InvalidInput when it is too long or not UTF-8."""
    from session_continuity.domain.errors import InvalidInput

    content = sys.stdin.buffer.read(_STDIN_LIMIT + 1)
    if len(content) > _STDIN_LIMIT:
        raise InvalidInput(
            f"{name} on standard input is longer than {_STDIN_LIMIT:,} bytes",
            code="payload_too_large",
            field=name,
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} on standard input is not UTF-8: {error}", code="payload_not_utf8") from None


class DurationType(click.ParamType[timedelta]):
    """A length of time: 250ms, 5s, 30m, 2h, 7d or a sum like 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from session_continuity.domain.durations import parse_duration
        from session_continuity.domain.errors import InvalidInput

        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except InvalidInput as error:
            self.fail(error.message, param, ctx)


class TimeType(click.ParamType[datetime]):
    """A time: ISO 8601 (without a zone: the local one), or how long ago, like 2h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.astimezone()
        except (ValueError, OverflowError):
            pass
        try:
            return datetime.now().astimezone() - DURATION.convert(value, None, None)
        except (click.BadParameter, OverflowError):
            self.fail(f"{value!r} is not a time; write ISO 8601, or how long ago it is, like 2h", param, ctx)


class PlaceType(click.ParamType[Any]):
    """A time, or time,id of the last row seen."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        at, comma, row_id = value.partition(",")
        moment = TIME.convert(at, param, ctx)
        return (moment, row_id) if comma else moment


class NumberType(click.ParamType[int]):
    """A whole number from `lowest` to `highest`."""

    name = "number"

    def __init__(self, lowest: int = 0, highest: int = 2**63 - 1) -> None:
        self._lowest, self._highest = lowest, highest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if not self._lowest <= number <= self._highest:
            self.fail(f"{number} is not between {self._lowest} and {self._highest}", param, ctx)
        return number


JSON, JSON_OBJECT = JsonType(objects=False), JsonType(objects=True)
DURATION, TIME = DurationType(), TimeType()
NUMBER, PERCENT = NumberType(), NumberType(0, 100)

INSTANCE_TYPE = click.Choice(["PS", "MS"])
STATUS = click.Choice(["active", "stale", "closed"])
OUTCOME = click.Choice(["success", "failure", "unknown", "cancelled"])
SEARCHED_OUTCOME = click.Choice(["success", "failure", "unknown", "cancelled", "in_flight"])
CHECKPOINT_TYPE = click.Choice(["manual", "automatic"])


def complete_event_types(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The event types that begin with what was typed."""
    from session_continuity.domain.event_store import EVENT_TYPES

    return [name for name in EVENT_TYPES if name.startswith(incomplete)]


def limit_option(default: int) -> Callable[[F], F]:
    """--limit."""
    return click.option("--limit", type=NUMBER, default=default, show_default=True, help="Most rows to show.")


instance_argument = click.argument("instance_id", metavar="INSTANCE_ID")
project_option = click.option("--project", help="Only this project.")
since_option = click.option(
    "--since", type=TIME, help="Only from this time on (ISO 8601, or 2h for two hours ago)."
)
before_option = click.option(
    "--before",
    type=PlaceType(),
    metavar="TIME[,ID]",
    help="Only before this time; with time and id of the last row seen, the next page.",
)
operation_option = click.option(
    "--operation",
    metavar="ID",
    help="Operation id: a retry with the same id changes nothing and answers the same.",
)
context_percent_option = click.option("--context-percent", type=PERCENT, help="How full the context window is.")
