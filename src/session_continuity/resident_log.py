"""The log of the resident process: JSON lines in `<home>/logs/serve.log`, turned over by size.

Lines of one request share its `request`, those of one pass of a service its `pass_id`. No captured text enters it:
of an exception it holds the kind and the places it passed, not its words.
"""

from __future__ import annotations

import logging
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

LARGEST_FILE = 5 * 2**20
OLDER_FILES = 3


def open_log(file: Path) -> None:
    """Send everything that this process logs into that file, the words of its libraries from warnings on."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamps = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = RotatingFileHandler(file, maxBytes=LARGEST_FILE, backupCount=OLDER_FILES, encoding="utf-8")
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=stamps,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_words,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("session_continuity").setLevel(logging.INFO)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *stamps,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _without_words(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001
    told: Any = event.pop("exc_info", None)
    error: object = cast("tuple[object, ...]", told)[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event["exception"] = type(error).__name__
        event["passed"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
    return event
