"""The relay as a participant sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.http_call import Answer, Unreachable, call
from demo.wire import Message

KEY_FILE = "api-key"
POST_SECONDS = 5  # the relay gives us 10 to answer it


class NotAccepted(Exception):
    """The relay did not take the message; the text says why."""


class Relay:
    """`folder` holds the participant's key, read for every call: a new one needs no restart."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url.rstrip("/")
        self.folder = folder

    def post(self, message: Message) -> None:
        """Returns when the relay has stored the message. Raises NotAccepted."""
        try:
            headers = {**message.headers(), **self._key()}
            answer = call("POST", f"{self.url}/messages", headers, message.body(), POST_SECONDS)
        except (Unreachable, OSError) as error:
            raise NotAccepted(str(error)) from error
        if answer.status != 202:
            raise NotAccepted(str(answer))

    def status(self, message_id: str) -> Any:
        """What became of a message that this participant sent or received. Raises NotAccepted, Unreachable."""
        answer: Answer = call("GET", f"{self.url}/messages/{message_id}", self._key())
        if answer.status != 200:
            raise NotAccepted(str(answer))
        return answer.json()

    def _key(self) -> dict[str, str]:
        return {"X-Api-Key": (self.folder / KEY_FILE).read_text().strip()}
