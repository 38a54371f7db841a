"""All that runs: the product, the chatbots and the classifier."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

from demo import children
from demo.errors import DemoError
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
MOST_RESTARTS = 5  # of one bot; after that something is wrong that another won't mend


class Network:
    def __init__(self, place: Place) -> None:
        self.place = place
        self.product = Product(place)
        self.registry = Registry(place.url, place.staff_key)
        self.product.child.log.unlink(missing_ok=True)
        self.instances = {
            part.name: Instance(part, place.folder / part.name, place.bot_port(number), place.url)
            for number, part in enumerate(PARTS)
        }
        for instance in self.instances.values():
            instance.child.log.unlink(missing_ok=True)

    def register(self, instance: Instance) -> bool:
        """Institution and participant. True if the participant is new."""
        institution = self.registry.register_institution(instance.title)
        return self.registry.register_participant(
            instance.name, instance.kind, instance.endpoint, institution, instance.folder
        )

    def keep_up(self, tell: Callable[[str], None]) -> NoReturn:
        """Until interrupted: starts a bot again that ended. Raises DemoError when the product ended."""
        restarts = dict.fromkeys(self.instances, 0)
        while True:
            time.sleep(LOOK_SECONDS)
            if not self.product.child.is_running:
                raise DemoError(f"The server ended by itself; its log is {self.product.child.log}.")
            for name, instance in self.instances.items():
                if not instance.child.is_running and restarts[name] < MOST_RESTARTS:
                    restarts[name] += 1
                    last = "" if restarts[name] < MOST_RESTARTS else ", for the last time"
                    tell(f"{instance.title}'s process ended; starting it again{last}. Its log: {instance.child.log}")
                    instance.child.start()

    def stop(self) -> None:
        children.stop([self.product.child, *(instance.child for instance in self.instances.values())])

    def titles(self) -> str:
        names = [title(part.name) for part in PARTS]
        return f"{', '.join(names[:-1])} and {names[-1]}"
