"""What a chatbot says and sends: what comes in, turns and messages out. No network, no clock but for the turns.

A message that can't be sent on isn't handled: its bearer, DMR, brings it again, and the bot then comes to the very
same messages under the same ids.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from demo import wire
from demo.chat import CITIZEN, Chat, State
from demo.knowledge import title
from demo.wire import Message

FindAnswer = Callable[[str], "str | None"]

ASKING_AROUND = "I don't know that myself. I am finding out who does."
NOBODY_KNOWS = "I am sorry, I found nobody who can answer this. Please put it in other words, or call us."
AWAY = "I am sorry, I can't reach the other institutions just now. Please ask me again in a few minutes."
NO_ANSWER = "I am sorry, I have no answer to that."


class Bot:
    def __init__(self, name: str, find_answer: FindAnswer) -> None:
        self.name = name
        self.chats: dict[str, Chat] = {}
        self._find_answer = find_answer
        self._by_message: dict[str, Chat] = {}  # by the id of what we sent
        self._handled: set[tuple[str, str]] = set()

    def ask(self, question: str) -> tuple[Chat, list[Message]]:
        """A citizen's question: the chat that it opens, and what is to be sent because of it."""
        chat = Chat(str(uuid.uuid4()), question)
        self.chats[chat.id] = chat
        chat.say(CITIZEN, question)
        known = self._find_answer(question)
        if known is not None:
            self._end(chat, State.ANSWERED, known)
            return chat, []
        chat.say(self.name, ASKING_AROUND)
        message = Message(wire.new_id(), self.name, wire.CLASSIFIER, wire.QUESTION, question)
        self._sent(chat, message)
        return chat, [message]

    def receive(self, message: Message) -> list[Message]:
        """A message from the relay: what is to be sent because of it. Nothing for a repeat of a handled one."""
        if (message.sender, message.message_id) in self._handled:
            return []
        if message.kind == wire.QUESTION:
            return [self._answer_to(message)]
        chat = self._by_message.get(message.ref)
        if chat is None:
            return []  # about nothing that we asked
        asked = chat.messages[message.ref]
        if message.kind == wire.ERROR and message.sender == wire.DMR:
            self._explain(chat, asked, message)
        elif message.kind == wire.CLASSIFICATION and message.sender == asked.recipient == wire.CLASSIFIER:
            return self._pass_on(chat, message)
        elif message.kind == wire.ANSWER and message.sender == asked.recipient and chat.state is State.WAITING:
            chat.messages[message.message_id] = message
            self._end(chat, State.ANSWERED, message.text, by=message.sender)
        return []

    def handled(self, message: Message) -> None:
        """What came because of `message` has been sent."""
        self._handled.add((message.sender, message.message_id))

    def cannot_send(self, chat: Chat) -> None:
        """The relay couldn't be reached with a citizen's question: nobody else will bring it again."""
        for message in chat.messages:
            self._by_message.pop(message, None)
        chat.messages.clear()
        self._end(chat, State.UNANSWERED, AWAY)

    def _answer_to(self, question: Message) -> Message:
        return Message(
            message_id=wire.derived_id(question, "answer"),
            sender=self.name,
            recipient=question.sender,
            kind=wire.ANSWER,
            text=self._find_answer(question.text) or NO_ANSWER,
            classification=question.classification,
            ref=question.message_id,
        )

    def _pass_on(self, chat: Chat, found: Message) -> list[Message]:
        """The first class that comes is the one we trust; others of the same question are let go."""
        message_id = wire.derived_id(found, "question")
        if message_id in chat.messages:
            return [chat.messages[message_id]]  # sent in vain before
        is_first = not any(each.kind == wire.CLASSIFICATION for each in chat.messages.values())
        if chat.state is not State.WAITING or not is_first:
            return []
        chat.messages[found.message_id] = found
        if found.classification in ("", self.name):
            self._end(chat, State.UNANSWERED, NOBODY_KNOWS)
            return []
        chat.say(self.name, f"This is for: {title(found.classification)}. I have passed your question on.")
        question = Message(
            message_id=message_id,
            sender=self.name,
            recipient=found.classification,
            kind=wire.QUESTION,
            text=chat.question,
            classification=found.classification,
        )
        self._sent(chat, question)
        return [question]

    def _explain(self, chat: Chat, asked: Message, error: Message) -> None:
        if chat.state is State.WAITING:
            chat.messages[error.message_id] = error
            self._end(chat, State.UNANSWERED, explanation(asked.recipient, error.status))

    def _sent(self, chat: Chat, message: Message) -> None:
        chat.messages[message.message_id] = message
        self._by_message[message.message_id] = chat

    def _end(self, chat: Chat, state: State, text: str, by: str = "") -> None:
        chat.say(by or self.name, text)
        chat.state = state


def explanation(recipient: str, status: int) -> str:
    """An error of the relay, as one tells it to a citizen."""
    if recipient == wire.CLASSIFIER:
        return AWAY
    reasons = {404: "it has no chatbot in our network yet", 403: "I am not allowed to ask it"}
    reason = reasons.get(status, "its chatbot doesn't answer")
    return f"I am sorry: {title(recipient)} would know, but {reason}. Please call them."
