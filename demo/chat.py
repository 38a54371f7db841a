"""A citizen's chat with one bot."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from demo.wire import Message

CITIZEN = "citizen"


class State(str, Enum):
    WAITING = "waiting"  # for the classifier, or for another bot
    ANSWERED = "answered"
    UNANSWERED = "unanswered"  # nobody could, and the citizen was told


@dataclass(frozen=True)
class Turn:
    by: str
    text: str
    at: datetime


@dataclass
class Chat:
    """What was said, and the messages that went to and fro because of it."""

    id: str
    question: str
    state: State = State.WAITING
    turns: list[Turn] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)  # by id, in their order

    def say(self, by: str, text: str) -> None:
        self.turns.append(Turn(by, text, datetime.now(timezone.utc)))

    def shape(self) -> dict[str, Any]:
        """As `GET /chats/{id}` shows it."""
        return {
            "chat": self.id,
            "question": self.question,
            "state": self.state.value,
            "turns": [{"by": turn.by, "text": turn.text, "at": turn.at.isoformat()} for turn in self.turns],
            "messages": [
                {
                    "messageId": message.message_id,
                    "from": message.sender,
                    "to": message.recipient,
                    "kind": message.kind,
                    "classification": message.classification,
                }
                for message in self.messages.values()
            ],
        }
