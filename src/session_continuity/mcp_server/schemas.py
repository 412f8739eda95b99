"""JSON schemas of tools, made from signatures and records, and kept short: a tool list is read by a model."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter

Schema = dict[str, Any]

_SAID_ELSEWHERE = frozenset({"title", "default", "additionalProperties"})
_BYTES: Schema = {"type": "string"}


def input_schema(arguments: type[BaseModel]) -> Schema:
    """The schema of a tool's arguments. What may be left out may also be null, which clients send for it; the
    schema need not say so."""
    whole = arguments.model_json_schema(by_alias=True)
    schema = _short(whole, whole.get("$defs", {}))
    return {"type": "object", "properties": schema.get("properties", {}), **_required(whole), **_CLOSED}


@cache
def _record_properties(record: type) -> Schema:
    whole = TypeAdapter(record).json_schema(mode="serialization")
    if whole.get("type") == "array":  # a named tuple: its fields are the items, in order
        names = record._fields  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        described = dict(zip(cast("tuple[str, ...]", names), whole["prefixItems"], strict=True))
    else:
        described = cast("Schema", whole["properties"])
    return {name: _short(schema, whole.get("$defs", {}), bare=True) for name, schema in described.items()}


def record_schema(record: type, names: Iterable[str] | None = None) -> Schema:
    """The schema of a record as an answer, or of its fields `names`: one without a value is left out, so none is
    required."""
    properties = _record_properties(record)
    return {"type": "object", "properties": {name: properties[name] for name in names or properties}}


def page_schema(name: str, record: type, names: Iterable[str] | None = None, **more: Schema) -> Schema:
    """The schema of a page of records under `name`, with `more` properties than the record has fields."""
    row = record_schema(record, names)
    rows = {"type": "array", "items": {**row, "properties": {**row["properties"], **more}}}
    return {
        "type": "object",
        "properties": {name: rows, "next_cursor": {"type": "string"}},
        "required": [name],
    }


def object_schema(**properties: Schema) -> Schema:
    """The schema of an answer that is no record."""
    return {"type": "object", "properties": properties}


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
_CLOSED: Schema = {"additionalProperties": False}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _required(whole: Schema) -> Schema:
    return {"required": whole["required"]} if whole.get("required") else {}


def _short(schema: Any, definitions: Schema, *, bare: bool = False) -> Schema:
    """The schema without titles, defaults and null, references replaced by what they name; `bare` keeps types
    alone."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    if "anyOf" in schema:
        kept = [each for each in schema["anyOf"] if each.get("type") != "null"]
        if len(kept) == 1:
            schema = {**kept[0], **{name: value for name, value in schema.items() if name != "anyOf"}}
            return _short(schema, definitions, bare=bare)
    short: Schema = {}
    for name, value in cast("Schema", schema).items():
        if name in _SAID_ELSEWHERE or name.startswith("$"):
            continue
        if name == "properties":
            short[name] = {each: _short(inner, definitions, bare=bare) for each, inner in value.items()}
        elif name == "items":
            short[name] = _short(value, definitions, bare=bare)
        elif not bare or name in ("type", "enum", "format"):
            short[name] = value
    if short.get("format") == "binary":
        return dict(_BYTES)
    if schema.get("additionalProperties") is False:
        short["additionalProperties"] = False
    return short
