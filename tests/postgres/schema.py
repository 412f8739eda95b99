"""What a database's schema is, for comparing two of them."""

from __future__ import annotations

from typing import Any

import psycopg

_PARTS = {
    "relations": """
        SELECT c.relname, c.relkind, c.reloptions, c.relacl::text FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'S', 'v')""",
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage,
            a.attgenerated, pg_get_expr(d.adbin, d.adrelid), a.attacl::text
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal",
    "functions": """
        SELECT proname, pg_get_functiondef(oid), proacl::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace""",
}


def describe_schema(connection: psycopg.Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that migrations make, in an order of its own."""
    return {part: sorted(connection.execute(query.encode()).fetchall(), key=str) for part, query in _PARTS.items()}
