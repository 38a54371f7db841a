"""What acts share: the network, the narration, what citizens asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from demo import knowledge
from demo.chat import CITIZEN, State
from demo.errors import Unexpected
from demo.instance import Instance
from demo.narration import Narration
from demo.network import Network
from demo.watch import expect, until

ANSWER_SECONDS = 20
RETRIES_SECONDS = 30  # the relay's pauses: 1 s, 5 s, 30 s
ENDED = ("delivered", "expired", "dead")


@dataclass
class Scene:
    """What acts share. `asked`: each question of a citizen, by the bot that was asked and the chat."""

    narration: Narration
    network: Network
    asked: list[tuple[Instance, str]] = field(default_factory=list)

    def bot(self, name: str) -> Instance:
        return self.network.instances[name]

    def ask(self, bot: Instance, question: str) -> str:
        chat_id = bot.ask(question)
        self.asked.append((bot, chat_id))
        self.narration.quote("Citizen", question)
        return chat_id

    def wait_for(self, bot: Instance, chat_id: str, state: State) -> dict[str, Any]:
        """The chat once it has ended. Raises Unexpected where it does not, or ends otherwise."""
        chat = until(
            f"the chat with {bot.title} to be {state.value}",
            lambda: bot.chat(chat_id),
            lambda seen: seen["state"] != State.WAITING.value,
            ANSWER_SECONDS,
            tell=outline,
        )
        expect(chat["state"] == state.value, f"the chat with {bot.title} to be {state.value}", outline(chat))
        return chat

    def quote(self, chat: dict[str, Any], *, of: slice = slice(-1, None)) -> None:
        """What bots said in a chat: the last turn, or those asked for."""
        for turn in chat["turns"][of]:
            if turn["by"] != CITIZEN:
                self.narration.quote(knowledge.title(turn["by"]), turn["text"])

    def statuses(self, bot: Instance, chat: dict[str, Any]) -> list[dict[str, Any]]:
        """What the relay says of each message of a chat, once each has ended."""

        def wait(message: dict[str, Any]) -> dict[str, Any]:
            return until(
                f"message {message['messageId']} from {message['from']} to {message['to']} to have ended",
                lambda: bot.message(message["messageId"]),
                lambda seen: seen["state"] in ENDED,
                ANSWER_SECONDS,
            )

        return [wait(message) for message in chat["messages"]]

    def wait_for_failures(self, bot: Instance, message_id: str, attempts: int) -> dict[str, Any]:
        """The delivery of a message, once so many attempts have failed and the next is due later."""
        # A bot says that it passes a question on, and then does: the relay may not have it yet.
        until(
            f"message {message_id} to be accepted",
            lambda: bot.has_message(message_id),
            lambda is_there: is_there,
            ANSWER_SECONDS,
        )
        status = until(
            f"{attempts} attempt(s) at message {message_id} that failed, and another to come",
            lambda: bot.message(message_id),
            lambda seen: delivery(seen)["attempts"] >= attempts and seen["state"] == "pending",
            RETRIES_SECONDS,
        )
        return delivery(status)


def outline(chat: dict[str, Any]) -> str:
    said = " / ".join(f"{turn['by']}: {turn['text']}" for turn in chat["turns"])
    return f"{chat['state']}: {said}"


def delivery(status: dict[str, Any]) -> dict[str, Any]:
    """The one delivery of a message that went to one recipient."""
    if len(status["deliveries"]) != 1:
        raise Unexpected(f"one delivery of message {status['messageId']}", str(status))
    return dict(status["deliveries"][0])
