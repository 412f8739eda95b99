"""What the conformance suite asks of a server beside the protocol: tools, resources and prompts by agreed names.

Their names and answers are those that the suite's own descriptions demand. They exist in the tests alone.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, Field

Ctx = Context[Any, Any]

WHY = "For the conformance suite."

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
    )
).decode()
WAV = base64.b64encode(
    b"RIFF" + (36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    + bytes.fromhex("0100010044ac000088580100020010") + b"\0data" + bytes(4)
).decode()  # fmt: skip


def text(value: str) -> TextContent:
    return TextContent(type="text", text=value)


def resource(uri: str, value: str, mime_type: str = "text/plain") -> EmbeddedResource:
    return EmbeddedResource(
        type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=value)
    )


def image() -> ImageContent:
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def form(message: str, **properties: Any) -> ElicitRequest:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, most: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=text(prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=most))


def asked(ctx: Ctx, state: str | None = None, **requests: Any) -> InputRequiredResult | None:
    """The requests that the client has not answered yet, or None when all are."""
    given = ctx.input_responses or {}
    if all(name in given for name in requests):
        return None
    return InputRequiredResult(input_requests=requests, request_state=state)


NAME, COLOR = {"type": "string"}, {"type": "string"}


def add_plain_tools(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False, description=WHY)
    def test_simple_text() -> str:
        return "This is a simple text response for testing."

    @server.tool(structured_output=False, description=WHY)
    def test_image_content() -> list[ImageContent]:
        return [image()]

    @server.tool(structured_output=False, description=WHY)
    def test_audio_content() -> list[AudioContent]:
        return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]

    @server.tool(structured_output=False, description=WHY)
    def test_embedded_resource() -> list[EmbeddedResource]:
        return [resource("test://embedded-resource", "This is an embedded resource content.")]

    @server.tool(structured_output=False, description=WHY)
    def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        mixed = resource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
        return [text("Multiple content types test:"), image(), mixed]

    @server.tool(structured_output=False, description=WHY)
    def test_error_handling() -> str:
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool(structured_output=False, description=WHY)
    async def test_tool_with_logging(ctx: Ctx) -> str:
        for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(said)
            await asyncio.sleep(0.05)
        return "logged"

    @server.tool(structured_output=False, description=WHY)
    async def test_logging_tool(ctx: Ctx) -> str:
        await ctx.info("nobody asked for this")
        return "logged"

    @server.tool(structured_output=False, description=WHY)
    async def test_tool_with_progress(ctx: Ctx) -> str:
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
            await asyncio.sleep(0.05)
        return "done"

    @server.tool(structured_output=False, description=WHY)
    async def test_reconnection(ctx: Ctx) -> str:
        await ctx.close_sse_stream()
        await asyncio.sleep(0.2)
        return "still here"

    @server.tool(structured_output=False, description=WHY)
    def test_missing_capability(ctx: Ctx) -> str:
        declared = ctx.client_capabilities
        if declared is None or declared.sampling is None:
            needed = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "sampling is needed", needed)
        return "declared"


class Answer(BaseModel):
    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


class Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = True


def titled(name: str, *choices: str) -> list[dict[str, str]]:
    return [{"const": choice, "title": f"{name} {choice}"} for choice in choices]


OPTIONS = ["option1", "option2", "option3"]


class Enums(BaseModel):
    untitledSingle: str = Field(json_schema_extra={"enum": OPTIONS})
    titledSingle: str = Field(json_schema_extra={"oneOf": titled("The", "value1", "value2", "value3")})
    legacyEnum: str = Field(json_schema_extra={"enum": OPTIONS, "enumNames": ["One", "Two", "Three"]})
    untitledMulti: list[str] = Field(json_schema_extra={"items": {"type": "string", "enum": OPTIONS}})
    titledMulti: list[str] = Field(json_schema_extra={"items": {"anyOf": titled("A", "value1", "value2")}})


def add_asking_tools(server: MCPServer[Any]) -> None:
    """Those that ask the client back on the old era's channel."""

    @server.tool(structured_output=False, description=WHY)
    async def test_sampling(prompt: str, ctx: Ctx) -> str:
        message = SamplingMessage(role="user", content=text(prompt))
        answered = await ctx.session.create_message(messages=[message], max_tokens=100)
        return f"LLM response: {getattr(answered.content, 'text', '')}"

    async def elicited(ctx: Ctx, message: str, schema: type[BaseModel], begin: str) -> str:
        answered = await ctx.elicit(message, schema)
        content = answered.data.model_dump_json() if answered.action == "accept" else "{}"
        return f"{begin}: action={answered.action}, content={content}"

    @server.tool(structured_output=False, description=WHY)
    async def test_elicitation(message: str, ctx: Ctx) -> str:
        return await elicited(ctx, message, Answer, "User response")

    @server.tool(structured_output=False, description=WHY)
    async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
        return await elicited(ctx, "Who are you?", Defaults, "Elicitation completed")

    @server.tool(structured_output=False, description=WHY)
    async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
        return await elicited(ctx, "Which ones?", Enums, "Elicitation completed")


def add_input_required_tools(server: MCPServer[Any]) -> None:
    """Those that answer with what they need, on the new era's way."""

    async def greet(ctx: Ctx) -> CallToolResult | InputRequiredResult:
        needed = InputRequiredResult(input_requests={"user_name": form("What is your name?", name=NAME)})
        answer = (ctx.input_responses or {}).get("user_name")
        if not isinstance(answer, ElicitResult) or not isinstance((answer.content or {}).get("name"), str):
            return needed
        return said(f"Hello, {(answer.content or {})['name']}!")

    for name in ("test_input_required_result_elicitation", "test_streaming_elicitation"):
        server.add_tool(greet, name=name, structured_output=False, description=WHY)

    @server.tool(structured_output=False, description=WHY)
    async def test_input_required_result_sampling(ctx: Ctx) -> CallToolResult | InputRequiredResult:
        question = sample("What is the capital of France?", 100)
        return asked(ctx, capital_question=question) or said(str(ctx.input_responses))

    @server.tool(structured_output=False, description=WHY)
    async def test_input_required_result_list_roots(ctx: Ctx) -> CallToolResult | InputRequiredResult:
        return asked(ctx, client_roots=ListRootsRequest()) or said(str(ctx.input_responses))

    async def confirm(ctx: Ctx) -> CallToolResult | InputRequiredResult:
        question = form("Please confirm", ok={"type": "boolean"})
        return asked(ctx, "asked", confirm=question) or said("state-ok" if ctx.request_state == "asked" else "no")

    for name in ("test_input_required_result_request_state", "test_input_required_result_tampered_state"):
        server.add_tool(confirm, name=name, structured_output=False, description=WHY)

    @server.tool(structured_output=False, description=WHY)
    async def test_input_required_result_multiple_inputs(ctx: Ctx) -> CallToolResult | InputRequiredResult:
        requests = {
            "user_name": form("What is your name?", name=NAME),
            "greeting": sample("Generate a greeting", 50),
            "client_roots": ListRootsRequest(),
        }
        return asked(ctx, "asked", **requests) or said("all there")

    @server.tool(structured_output=False, description=WHY)
    async def test_input_required_result_multi_round(ctx: Ctx) -> CallToolResult | InputRequiredResult:
        if ctx.request_state == "second":
            color = form("Step 2: What is your favorite color?", color=COLOR)
            return asked(ctx, "second", step2=color) or said("both steps taken")
        if asking := asked(ctx, "first", step1=form("Step 1: What is your name?", name=NAME)):
            return asking
        color = form("Step 2: What is your favorite color?", color=COLOR)
        return InputRequiredResult(input_requests={"step2": color}, request_state="second")

    @server.tool(structured_output=False, description=WHY)
    async def test_input_required_result_capabilities(ctx: Ctx) -> CallToolResult | InputRequiredResult:
        declared = ctx.client_capabilities
        requests: dict[str, Any] = {}
        if declared is not None and declared.sampling is not None:
            requests["sampled"] = sample("Anything", 10)
        if declared is not None and declared.elicitation is not None:
            requests["elicited"] = form("Anything?", name=NAME)
        return asked(ctx, **requests) or said("nothing to ask")


def said(value: str) -> CallToolResult:
    return CallToolResult(content=[text(value)])


def add_readable(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", description="A text.", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", description="A picture.", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", description="A text.", mime_type="text/plain")
    def watched_resource() -> str:
        return "watched"

    @server.resource("test://template/{id}/data", description="By id.", mime_type="application/json")
    def by_id(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.prompt(description="A simple one.")
    def test_simple_prompt() -> str:
        return "This is a simple prompt for testing."

    @server.prompt(description="One with arguments.")
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt(description="One with a resource.")
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        embedded = resource(resourceUri, "Embedded resource content for testing.")
        return [UserMessage(embedded), UserMessage("Please process the embedded resource above.")]

    @server.prompt(description="One with a picture.")
    def test_prompt_with_image() -> list[UserMessage]:
        return [UserMessage(image()), UserMessage("Please analyze the image above.")]

    @server.prompt(description="One that needs to know more.")
    async def test_input_required_result_prompt(ctx: Ctx) -> str | InputRequiredResult:
        question = form("What context should the prompt use?", context=NAME)
        return asked(ctx, user_context=question) or "Now it is known."

    @server.completion()
    async def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[], total=0, has_more=False)


def add_old_methods(server: MCPServer[Any]) -> None:
    """Methods of the old era that the SDK leaves to its lower level."""
    lower = server._lowlevel_server

    async def done(*_: Any) -> EmptyResult:
        return EmptyResult()

    lower.add_request_handler("logging/setLevel", SetLevelRequestParams, done)
    lower.add_request_handler("resources/subscribe", SubscribeRequestParams, done)
    lower.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, done)


def add_fixtures(server: MCPServer[Any]) -> None:
    """All that the suite asks for, on the product's server."""
    add_plain_tools(server)
    add_asking_tools(server)
    add_input_required_tools(server)
    add_readable(server)
    add_old_methods(server)
