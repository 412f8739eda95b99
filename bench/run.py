"""Measures the product against plain psycopg, the report's schema and its peers; prints a Markdown table.

python bench/run.py [--only append] [--rounds 7] [--server both] [--seconds 1]
"""

from __future__ import annotations

import argparse
import importlib
import os
from contextlib import suppress

from harness import HEAD, Bench, Options, Row, save, table
from servers import open_servers

PARTS = (
    "append",
    "wal",
    "heartbeats",
    "recovery",
    "reading",
    "timeline",
    "startup",
    "hooks",
    "capture",
    "mcp_calls",
    "archive",
    "bloat",
    "dashboard",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="this part only; may be repeated")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each subject in each round")
    parser.add_argument("--server", default="both", help="embedded, 15, both, or a DSN")
    parser.add_argument("--small", action="store_true", help="small tables, to try the scripts out")
    parser.add_argument("--full", action="store_true", help="a million captures: an hour and more")
    given = parser.parse_args()
    options = Options(rounds=given.rounds, seconds=given.seconds, small=given.small, full=given.full)
    rows: list[Row] = []
    loads: list[str] = []
    versions: dict[str, str] = {}
    with open_servers(given.server) as servers, suppress(KeyboardInterrupt):
        print(HEAD, flush=True)
        for server in servers:
            versions[server.name] = server.version()
            for part in given.only or PARTS:
                before = os.getloadavg()[0]
                bench = Bench(part, server, options)
                importlib.import_module(part).run(bench)
                rows += bench.rows
                loads.append(f"{part} on {server.name}: {before:.1f} to {os.getloadavg()[0]:.1f}")
    file = save(rows, options, versions, loads)
    print(f"\n{table(rows)}\n\nload average: {'; '.join(loads)}\nsaved as {file}")


if __name__ == "__main__":
    main()
