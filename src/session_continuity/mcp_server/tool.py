"""A tool over the records: what it declares, and how it answers."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, ParamSpec

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field, ValidationError

from session_continuity.domain.errors import SessionContinuityError
from session_continuity.mcp_server.answers import Answer
from session_continuity.mcp_server.context import App
from session_continuity.mcp_server.errors import explain, explain_arguments, explain_defect
from session_continuity.mcp_server.permissions import READ, WRITE
from session_continuity.mcp_server.schemas import Schema, input_schema

P = ParamSpec("P")
ToolFunction = Callable[Concatenate[App, P], Awaitable[Answer]]

_log = logging.getLogger(__name__)


def _hints(*, reads: bool = False, destroys: bool = False, repeatable: bool = False) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=reads, destructive_hint=destroys, idempotent_hint=repeatable, open_world_hint=False
    )


READS = _hints(reads=True, repeatable=True)
APPENDS = _hints()
"""Adds to the records; only with an operation_id may it be repeated."""
SETTLES = _hints(repeatable=True)
"""Changes what it names, and nothing more when it is repeated."""
FENCES = _hints(destroys=True)
"""Takes something away from another: here the right to write."""


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """A tool before it has a client to ask."""

    function: Callable[..., Awaitable[Answer]]
    title: str
    hints: ToolAnnotations
    output_schema: Schema

    @property
    def name(self) -> str:
        return self.function.__name__

    def bind(self, app: App) -> Tool:
        """The tool over this client."""
        function = partial(self.function, app)
        function.__name__ = self.name  # pyright: ignore[reportAttributeAccessIssue]
        bound = RecordTool.from_function(
            function,
            name=self.name,
            title=self.title,
            description=inspect.cleandoc(self.function.__doc__ or "").replace("\n", " "),
            annotations=self.hints,
            structured_output=False,
        )
        arguments = bound.fn_metadata.arg_model
        arguments.model_config.update(extra="forbid", strict=True)
        arguments.model_rebuild(force=True)
        bound.parameters = input_schema(arguments)
        bound.fn_metadata.output_schema = self.output_schema
        assert isinstance(bound, RecordTool)  # noqa: S101
        bound.admit = partial(app.require, READ if self.hints.read_only_hint else WRITE)
        return bound


def _unbound() -> None:
    raise RuntimeError("the tool was not bound")


def tool(title: str, hints: ToolAnnotations, answers: Schema) -> Callable[[ToolFunction[P]], DeclaredTool]:
    """Declare a tool: its name is the function's, its description the docstring, its arguments the signature."""
    return lambda function: DeclaredTool(function, title, hints, answers)


class RecordTool(Tool):
    """Refuses unknown arguments, and answers every error in words that an agent can act on. JSON inside a text
    stays text: what is recorded is what was given."""

    admit: Callable[[], None] = Field(default=_unbound, exclude=True)
    """Raises Forbidden when the caller may not call it."""

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],  # noqa: ARG002
        convert_result: bool = False,  # noqa: ARG002
    ) -> CallToolResult:
        model = self.fn_metadata.arg_model
        try:
            self.admit()
            checked = model.model_validate(arguments).model_dump_one_level()
            answer: Answer = await self.fn(**checked)
        except ValidationError as error:
            return _refusal(explain_arguments(error, list(model.model_fields)))
        except SessionContinuityError as error:
            return _refusal(explain(error))
        except Exception:
            _log.exception("tool %s failed", self.name)
            return _refusal(explain_defect(self.name))
        return CallToolResult(
            content=[TextContent(type="text", text=answer.text)], structured_content=answer.document
        )


def _refusal(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=str(text))], is_error=True)
