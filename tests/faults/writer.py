"""A process that appends until it is told to stop, and writes down what was acknowledged, and nothing else.

`python writer.py TARGET NUMBER OWN_SESSION SHARED_SESSION FILE`: TARGET is a home (the library keeps the server
running) or a conninfo. Each line of FILE is one acknowledgement: when the call began and ended (monotonic
seconds), the session, the operation id and the sequence numbers. It ends when FILE.stop appears.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from uuid import UUID

from session_continuity import AsyncSessionContinuity, NewEvent, Unavailable
from session_continuity.domain.identity import new_operation_id

SINGLES_ON_OWN, SINGLES_ON_SHARED, BATCHES, BATCH = 8, 4, 2, 20


class Writer:
    """The tasks of one process share one client, so that their appends are merged."""

    def __init__(self, client: AsyncSessionContinuity, number: int, file: Path) -> None:
        self.client, self.number = client, number
        self.stop = file.with_suffix(".stop")
        self.acknowledged = file.open("a")
        self.retries = 0

    async def append_until_stopped(self, task: int, instance_id: str, size: int) -> None:
        made = 0
        while not self.stop.exists():
            keys = [f"{self.number}-{task}-{made}-{part}" for part in range(size)]
            made += 1
            began = time.monotonic()
            operation = new_operation_id()
            numbers = await self.append(instance_id, keys, operation)
            line = [began, time.monotonic(), instance_id, str(operation), numbers]
            self.acknowledged.write(json.dumps(line) + "\n")
            self.acknowledged.flush()

    async def append(self, instance_id: str, keys: list[str], operation: UUID) -> tuple[int, ...]:
        """The same operation id until there is an answer."""
        events = [NewEvent(event_type="instance_heartbeat", event_data={"key": key}) for key in keys]
        while True:
            try:
                return (await self.client.append_events(instance_id, events, operation=operation)).sequence_nums
            except Unavailable as error:
                self.retries += 1
                print(error, file=sys.stderr)
                await asyncio.sleep(0.05)


async def main(target: str, number: int, own: str, shared: str, file: Path) -> None:
    options = {"dsn": target} if "=" in target else {"home": target}
    async with AsyncSessionContinuity(deadline_seconds=60, **options) as client:
        writer = Writer(client, number, file)
        async with asyncio.TaskGroup() as tasks:
            for task in range(SINGLES_ON_OWN + SINGLES_ON_SHARED + BATCHES):
                session = shared if SINGLES_ON_OWN <= task < SINGLES_ON_OWN + SINGLES_ON_SHARED else own
                size = BATCH if task >= SINGLES_ON_OWN + SINGLES_ON_SHARED else 1
                tasks.create_task(writer.append_until_stopped(task, session, size))
        print(writer.retries)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], Path(sys.argv[5])))
