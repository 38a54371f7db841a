"""One log event an outcome: a constant name and ids. Never a payload, never a key."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any


def event(logger: logging.Logger, name: str, level: int = logging.INFO, **facts: Any) -> None:
    """Logs the event `name` with its `facts` (ids, counts, states)."""
    logger.log(level, name, extra={"facts": facts})


class EventFormatter(logging.Formatter):
    """`event key=value …` for people, or one JSON object a line for machines."""

    def __init__(self, as_json: bool = False) -> None:
        super().__init__()
        self.as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = getattr(record, "facts", {})
        at = datetime.fromtimestamp(record.created, tz=timezone.utc).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **facts,
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        if self.as_json:
            return json.dumps(said, default=str, ensure_ascii=False)
        line = f"{at} {record.levelname.lower():7} {record.getMessage()}"
        line += "".join(f" {key}={value}" for key, value in facts.items())
        return line + ("\n" + said["exception"] if record.exc_info else "")
