"""Log what a running party does to stderr: a line an event, for people or as JSON; never a key."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from bcfl.cli.output.terminal import plain

FIELDS: Final = ("account", "round")


class LogFormat(StrEnum):
    """How a line looks."""

    PLAIN = "plain"
    JSON = "json"


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        round_ = getattr(record, "round", 0)
        text = _text(record, self)
        prefix = f"round {round_}  " if round_ and not text.startswith("round ") else ""
        return plain(f"{_time(record)}  {prefix}{level}{text}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _text(record, self),
        }
        content |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        return json.dumps(content, ensure_ascii=True)


def start_logging(form: LogFormat, level: str = "INFO") -> None:
    """Let what `bcfl` logs go to stderr; other libraries only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form is LogFormat.JSON else _Plain())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("bcfl").setLevel(level)


def _time(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z"


def _text(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    """Return the message, and where it comes from if it is a defect, on one line."""
    text = record.getMessage()
    if record.exc_info:
        text += " | " + formatter.formatException(record.exc_info)
    return " ".join(text.split())
