"""The classifier's process: `python -m demo.classifier`, arguments as for `demo.chatbot`.

A question that comes by the relay is answered with a message for each class found, or one without a class.
"""

from __future__ import annotations

from demo import release, service, wire
from demo.knowledge import classify
from demo.relay import NotAccepted, Relay
from demo.service import Request, Shape, log
from demo.wire import Message


def classifications(question: Message) -> list[Message]:
    """The answers to a question; pure."""
    return [
        Message(
            message_id=wire.derived_id(question, f"class/{name}"),
            sender=wire.CLASSIFIER,
            recipient=question.sender,
            kind=wire.CLASSIFICATION,
            text=question.text,
            classification=name,
            ref=question.message_id,
        )
        for name in classify(question.text) or [""]
    ]


class Classifier:
    def __init__(self, name: str, relay: Relay) -> None:
        self.name = name
        self.relay = relay

    def handle(self, request: Request) -> tuple[int, Shape]:
        if (request.method, request.path) == ("GET", "/healthz"):
            return release.heartbeat(self.relay.folder, self.name)
        if (request.method, request.path) == ("POST", "/dmr-api/messages"):
            return self.receive(request)
        return 404, {"error": "no such page"}

    def receive(self, request: Request) -> tuple[int, Shape]:
        try:
            message = wire.read(request.headers, request.body)
        except wire.Unreadable as error:
            return 400, {"error": str(error)}
        found = classifications(message) if message.kind == wire.QUESTION else []
        try:
            for each in found:
                self.relay.post(each)
        except NotAccepted as error:
            log("classification_not_sent", message=message.message_id, reason=error)
            return 503, {"error": "the relay did not take the classification"}
        log("message_classified", message=message.message_id, sender=message.sender, classes=len(found))
        return 202, {"messageId": message.message_id}


def main() -> None:
    given = service.arguments("python -m demo.classifier")
    service.run(Classifier(given.name, Relay(given.relay, given.folder)).handle, given.port)


if __name__ == "__main__":
    main()
