"""One participant of the demonstration, as a process of its own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import release
from demo.agent import Agent
from demo.children import Child
from demo.environment import plain
from demo.errors import Unexpected
from demo.http_call import Unreachable, call, call_json
from demo.knowledge import title
from demo.relay import NotAccepted, Relay
from demo.watch import until

UP_SECONDS = 20


@dataclass(frozen=True)
class Part:
    """What is to be registered and started."""

    name: str
    kind: str  # Chatbot, Classifier
    module: str


class Instance:
    def __init__(self, part: Part, folder: Path, port: int, relay_url: str) -> None:
        self.name = part.name
        self.kind = part.kind
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.relay = Relay(relay_url, folder)
        folder.mkdir(exist_ok=True, mode=0o700)
        release.ensure(folder)
        arguments = ["--name", part.name, "--folder", str(folder), "--port", str(port), "--relay", relay_url]
        command = [sys.executable, "-m", part.module, *arguments]
        self.child = Child(self.title, command, folder / "log", plain())
        # Agents keep Instances up to date, and those are chatbots with their stacks.
        self.agent = Agent(self.title, folder, f"{self.url}/healthz", relay_url) if part.kind == "Chatbot" else None

    @property
    def title(self) -> str:
        return title(self.name)

    @property
    def endpoint(self) -> str:
        """Where the relay delivers."""
        return f"{self.url}/dmr-api/messages"

    @property
    def children(self) -> list[Child]:
        """The agent first: one that outlives its bot says that the bot is down."""
        return [self.agent.child, self.child] if self.agent else [self.child]

    def heartbeat(self) -> tuple[int, dict[str, Any]]:
        """Status and body of `/healthz`; 0 and the reason where there is no answer."""
        try:
            answer = call("GET", f"{self.url}/healthz", seconds=2)
            return answer.status, dict(answer.json())
        except Unreachable as error:
            return 0, {"reason": str(error)}

    def wait_until_up(self) -> dict[str, Any]:
        """Its heartbeat."""

        def look() -> tuple[int, dict[str, Any]]:
            if not self.child.is_running:
                raise Unexpected(f"{self.title}'s bot to run", " / ".join(self.child.last_lines(3)) or "it ended")
            return self.heartbeat()

        return until(f"{self.title}'s bot to be well", look, lambda seen: seen[0] == 200, UP_SECONDS)[1]

    def ask(self, question: str) -> str:
        """What a citizen types; the id of the chat."""
        answer = call_json("POST", f"{self.url}/ask", {"question": question})
        if answer.status != 202:
            raise Unexpected(f"202 from the bot of {self.title}", str(answer))
        return str(answer.json()["chat"])

    def chat(self, chat_id: str) -> dict[str, Any]:
        """What the citizen sees."""
        answer = call("GET", f"{self.url}/chats/{chat_id}")
        if answer.status != 200:
            raise Unexpected(f"the chat {chat_id} at {self.title}", str(answer))
        return dict(answer.json())

    def has_message(self, message_id: str) -> bool:
        """Does the relay know it?"""
        try:
            self.relay.status(message_id)
        except NotAccepted:
            return False
        return True

    def message(self, message_id: str) -> dict[str, Any]:
        """What the relay says of one of its messages."""
        try:
            return dict(self.relay.status(message_id))
        except NotAccepted as error:
            raise Unexpected(f"the status of message {message_id}", str(error)) from error
