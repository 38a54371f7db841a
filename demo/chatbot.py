"""A chatbot's process: `python -m demo.chatbot --name police --folder DIR --port 8002 --relay http://127.0.0.1:8000`.

Citizens: `POST /ask` {"question"} → 202 {"chat"}; `GET /chats/{id}` → the conversation so far.
Relay: `POST /dmr-api/messages`, answered 202 once what follows from the message has been handed to the relay.
"""

from __future__ import annotations

import functools
import json
import threading

from demo import release, service, wire
from demo.bot import Bot
from demo.knowledge import find_answer
from demo.relay import NotAccepted, Relay
from demo.service import Request, Shape, log


class Chatbot:
    def __init__(self, bot: Bot, relay: Relay) -> None:
        self.bot = bot
        self.relay = relay
        self._lock = threading.Lock()  # of `bot`, never held while calling the relay

    def handle(self, request: Request) -> tuple[int, Shape]:
        if (request.method, request.path) == ("GET", "/healthz"):
            return release.heartbeat(self.relay.folder, self.bot.name)
        if (request.method, request.path) == ("POST", "/ask"):
            return self.ask(request)
        if request.method == "GET" and request.path.startswith("/chats/"):
            return self.show(request.path.removeprefix("/chats/"))
        if (request.method, request.path) == ("POST", "/dmr-api/messages"):
            return self.receive(request)
        return 404, {"error": "no such page"}

    def ask(self, request: Request) -> tuple[int, Shape]:
        try:
            question = json.loads(request.body)["question"]
        except (ValueError, KeyError, TypeError):
            question = None
        if not isinstance(question, str) or not question.strip():
            return 400, {"error": 'the body must be JSON such as {"question": "When is my tax return due?"}'}
        with self._lock:
            chat, messages = self.bot.ask(question.strip())
        try:
            for message in messages:
                self.relay.post(message)
        except NotAccepted as error:
            log("question_not_sent", chat=chat.id, reason=error)
            with self._lock:
                self.bot.cannot_send(chat)
        return 202, {"chat": chat.id}

    def show(self, chat_id: str) -> tuple[int, Shape]:
        with self._lock:
            chat = self.bot.chats.get(chat_id)
            return (200, chat.shape()) if chat else (404, {"error": "no such chat"})

    def receive(self, request: Request) -> tuple[int, Shape]:
        try:
            message = wire.read(request.headers, request.body)
        except wire.Unreadable as error:
            return 400, {"error": str(error)}
        with self._lock:
            messages = self.bot.receive(message)
        try:
            for each in messages:
                self.relay.post(each)
        except NotAccepted as error:
            # Not ours to try again: the relay brings the message once more, and we come to the same.
            log("reply_not_sent", message=message.message_id, reason=error)
            return 503, {"error": "the relay did not take what follows from this message"}
        with self._lock:
            self.bot.handled(message)
        log("message_handled", message=message.message_id, sender=message.sender, sent=len(messages))
        return 202, {"messageId": message.message_id}


def main() -> None:
    given = service.arguments("python -m demo.chatbot")
    bot = Bot(given.name, functools.partial(find_answer, given.name))
    service.run(Chatbot(bot, Relay(given.relay, given.folder)).handle, given.port)


if __name__ == "__main__":
    main()
