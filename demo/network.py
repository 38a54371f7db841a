"""All that runs: the product, the chatbots with their agents, and the classifier."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

from demo import children
from demo.children import Child
from demo.core import Core
from demo.errors import DemoError
from demo.fleet import Fleet
from demo.instance import Instance, Part
from demo.knowledge import title
from demo.place import Place
from demo.product import Product
from demo.registry import Registry

PARTS = (
    Part("tax-board", "Chatbot", "demo.chatbot"),
    Part("police", "Chatbot", "demo.chatbot"),
    Part("education", "Chatbot", "demo.chatbot"),
    Part("classifier", "Classifier", "demo.classifier"),
)
LOOK_SECONDS = 0.5
MOST_RESTARTS = 5  # of one process; after that something is wrong that another won't mend


class Network:
    def __init__(self, place: Place) -> None:
        self.place = place
        self.product = Product(place)
        self.registry = Registry(place.url, place.staff_key)
        self.core = Core(place)
        self.fleet = Fleet(place.url, place.staff_key)
        self.lost: Instance | None = None  # one that was stopped, and stays so
        self.product.child.log.unlink(missing_ok=True)
        self.instances = {
            part.name: Instance(part, place.folder / part.name, place.bot_port(number), place.url)
            for number, part in enumerate(PARTS)
        }
        for child in self.children():
            child.log.unlink(missing_ok=True)

    def register(self, instance: Instance) -> bool:
        """Institution and participant. True if the participant is new."""
        institution = self.registry.register_institution(instance.title)
        return self.registry.register_participant(
            instance.name, instance.kind, instance.endpoint, institution, instance.folder
        )

    def bots(self) -> dict[str, Instance]:
        """Those that have agents beside them."""
        return {name: instance for name, instance in self.instances.items() if instance.agent}

    def children(self) -> list[Child]:
        """What is to run beside the product."""
        present = [instance for instance in self.instances.values() if instance is not self.lost]
        return [child for instance in present for child in instance.children]

    def keep_up(self, tell: Callable[[str], None]) -> NoReturn:
        """Until interrupted: starts a process again that ended. Raises DemoError when the product ended."""
        restarts = {child.name: 0 for child in self.children()}
        while True:
            time.sleep(LOOK_SECONDS)
            if not self.product.child.is_running:
                raise DemoError(f"The server ended by itself; its log is {self.product.child.log}.")
            for child in self.children():
                if not child.is_running and restarts[child.name] < MOST_RESTARTS:
                    restarts[child.name] += 1
                    last = "" if restarts[child.name] < MOST_RESTARTS else ", for the last time"
                    tell(f"{child.name}'s process ended; starting it again{last}. Its log: {child.log}")
                    child.start()

    def stop(self) -> None:
        children.stop([self.product.child, *self.children()])

    def titles(self) -> str:
        names = [title(part.name) for part in PARTS]
        return f"{', '.join(names[:-1])} and {names[-1]}"
