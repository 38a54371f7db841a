"""A steady load on the product, and the reckoning after it: nothing lost, order kept, every repeat explained.

A sender posts each message again, under the same id, until it is accepted or refused: what was answered 202 is known,
whatever happens to the product meanwhile, and so is the order of acceptance within each of its conversations.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.integration.product import Participant, Product, local_ports, wait_until
from tests.integration.sinks import Received, Sink, always

MakeSink = Callable[..., Sink]

SENDERS = 3
RECIPIENTS = 3
RATE = 24.0  # messages a second, of all senders together
ANSWER_SECONDS = 0.1  # that a recipient takes, so that there is always something in flight
# Of a sender's messages to each recipient, what conversation they belong to, in turn; None: they belong to none.
CONVERSATIONS = (None, "a", None, "b")
TO_THE_REFUSING = 10  # every so many of a sender's messages go to a recipient that refuses for good
PAYLOAD = b"x" * 500
GIVE_UP_SECONDS = 60.0  # that a sender tries to have one message accepted


@dataclass(frozen=True)
class Sent:
    """A message, and what its sender was told of it."""

    id: str
    sender: Participant
    recipient: Participant
    conversation: str
    at: float  # time.monotonic() of the answer


@dataclass(frozen=True)
class Fault:
    """When what was acknowledged may not have been written down, as time.monotonic()."""

    began: float
    ended: float


def of_senders(sink: Sink) -> list[Received]:
    return [each for each in sink.received if each.headers["X-Sent-By"] != "Dmr"]


class Load:
    """`with load.running(): …` sends; `reckon` says afterwards what came of it."""

    def __init__(self, product: Product, make_sink: MakeSink) -> None:
        self.product = product
        self.sinks = [make_sink(always(after=ANSWER_SECONDS)) for _ in range(RECIPIENTS)]
        self.recipients = [product.register(each.url) for each in self.sinks]
        self.refusing = product.register(make_sink(always(400)).url)
        self.senders = [(product.register(inbox.url), inbox) for inbox in (make_sink() for _ in range(SENDERS))]
        self.accepted: list[Sent] = []
        self.refused: list[Sent] = []  # 429: nothing was stored
        self.odd: list[str] = []
        self.faults: list[Fault] = []
        self._is_over = threading.Event()

    # -- sending --

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Sends until the `with` ends and every message has been answered."""
        threads = [threading.Thread(target=self._send, args=(sender,)) for sender, _ in self.senders]
        for each in threads:
            each.start()
        try:
            self.flow()
            yield
        finally:
            self._is_over.set()
            for each in threads:
                each.join()

    def _send(self, sender: Participant) -> None:
        began = time.monotonic()
        for number in itertools.count():
            if self._is_over.wait(max(0.0, began + number * SENDERS / RATE - time.monotonic())):
                return
            if number % TO_THE_REFUSING == TO_THE_REFUSING - 1:
                recipient, conversation = self.refusing, None
            else:
                recipient = self.recipients[number % RECIPIENTS]
                conversation = CONVERSATIONS[number // RECIPIENTS % len(CONVERSATIONS)]
            self._send_one(sender, recipient, f"{sender.name}-{conversation}" if conversation else "")

    def _send_one(self, sender: Participant, recipient: Participant, conversation: str) -> None:
        message_id = str(uuid.uuid4())
        headers = {"X_Conversation_Id": conversation} if conversation else {}
        until = time.monotonic() + GIVE_UP_SECONDS
        said = "nothing"
        while time.monotonic() < until:
            try:
                answer = self.product.post(sender, recipient.name, PAYLOAD, message_id=message_id, **headers)
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            else:
                if answer.status in (202, 429):
                    known = self.accepted if answer.status == 202 else self.refused
                    known.append(Sent(message_id, sender, recipient, conversation, time.monotonic()))
                    return
                said = f"{answer.status} {answer.body[:300]!r}"
                if answer.status != 503:
                    break
            time.sleep(0.1)
        self.odd.append(f"{message_id}: {said}")

    # -- watching --

    def received(self) -> list[Received]:
        """What our senders' messages became at the recipients, to whom the relay itself has things to say as well."""
        return [each for sink in self.sinks for each in of_senders(sink)]

    def flow(self, messages: int = 30, seconds: float = 20) -> None:
        """Waits until so many messages more have been accepted and have arrived."""
        before = len(self.accepted)
        wait_until(lambda: len(self.accepted) >= before + messages, seconds, "messages are accepted")
        wanted = {each.id for each in self.accepted[before:] if each.recipient != self.refusing}
        wait_until(lambda: wanted <= {each.id for each in self.received()}, seconds, "messages arrive")

    def have_much_in_flight(self) -> None:
        """From now on the recipients take their time."""
        for each in self.sinks:
            each.behaviour = always(after=5 * ANSWER_SECONDS)
        self.flow()

    def delivers(self, pid: int, seconds: float = 40) -> None:
        """Waits until that worker process delivers."""
        began = time.monotonic()

        def has_delivered() -> bool:
            ports = local_ports(pid)
            return any(each.connection in ports for each in self.received() if each.at > began)

        wait_until(has_delivered, seconds, f"worker {pid} delivers")

    def stop_with_some_in_flight(self, pid: int) -> None:
        """Stops that worker process, until SIGCONT, at a moment in which recipients have something of its in hand."""

        def is_stopped() -> bool:
            os.kill(pid, signal.SIGSTOP)
            ports = local_ports(pid)
            answered = {id(each.received) for sink in self.sinks for each in sink.answered}
            if any(each.connection in ports and id(each) not in answered for each in self.received()):
                return True
            os.kill(pid, signal.SIGCONT)
            return False

        wait_until(is_stopped, 20, f"worker {pid} has something in flight")

    @contextlib.contextmanager
    def fault(self, before: float = 1.0, after: float = 1.0) -> Iterator[None]:
        """What is done in the `with` may cost the outcome of what was in flight: that, and no more, may come again.

        In flight was what the recipients acknowledged in the `with`, or so many seconds before and after it.
        """
        began = time.monotonic()
        yield
        self.faults.append(Fault(began - before, time.monotonic() + after))

    # -- the reckoning --

    def reckon(self, *, repeats: int = 0, seconds: float = 60) -> None:
        """All that was accepted has ended well, or its sender knows; in order; repeats in faults alone.

        A repeat is a message that comes again after its recipient has answered 2xx.
        """
        assert self.odd == []
        self._see_the_end(seconds)
        self._see_order()
        came_again = self.repeats()
        unexplained = [each for each in came_again if not any(f.began <= each[1] <= f.ended for f in self.faults)]
        assert unexplained == [], f"of {came_again} with {self.faults}"
        assert len(came_again) <= repeats, came_again
        again = Counter(message_id for message_id, _ in came_again)
        assert max(again.values(), default=0) <= len(self.faults), again
        print(f"{len(self.accepted)} accepted, {len(self.refused)} refused, came again: {came_again}")

    def _see_the_end(self, seconds: float) -> None:
        good = {each.id for each in self.accepted if each.recipient != self.refusing}
        bad = [each for each in self.accepted if each.recipient == self.refusing]
        assert good
        assert bad
        wait_until(lambda: not self._missing(good), seconds, "all that was accepted arrives")
        assert not {each.id for each in self.refused} & {each.id for each in self.received()}
        for each in self.accepted:
            ended = self.product.wait_for_end(each.sender, each.id, seconds)
            assert ended["state"] == ("dead" if each.recipient == self.refusing else "delivered"), ended
        inboxes = dict(self.senders)
        for each in bad:
            inboxes[each.sender].wait_for_error(each.id, seconds)

    def _missing(self, wanted: set[str]) -> set[str]:
        return wanted - {each.id for each in self.received()}

    def _see_order(self) -> None:
        """First arrivals in the order of acceptance; and a recipient never has two of one conversation in hand."""
        for recipient, sink in zip(self.recipients, self.sinks, strict=True):
            accepted, arrived = defaultdict(list), defaultdict(list)
            conversations = {each.id: each.conversation for each in self.accepted if each.recipient == recipient}
            for sent in self.accepted:
                if sent.recipient == recipient and sent.conversation:
                    accepted[sent.conversation].append(sent.id)
            for message_id in dict.fromkeys(each.id for each in of_senders(sink)):
                if conversations[message_id]:
                    arrived[conversations[message_id]].append(message_id)
            assert arrived == accepted

            answered_at = {id(each.received): each.at for each in sink.answered}
            in_hand: dict[str, float] = {}
            for each in sorted(of_senders(sink), key=lambda each: each.at):
                conversation = conversations[each.id]
                assert not conversation or each.at >= in_hand.get(conversation, 0.0), each
                in_hand[conversation] = answered_at.get(id(each), 0.0)

    def repeats(self) -> list[tuple[str, float]]:
        """Each arrival of what its recipient had acknowledged already: its id, and when it had been acknowledged."""
        found = []
        for sink in self.sinks:
            acknowledged: dict[str, float] = {}
            for each in sink.answered:
                if 200 <= each.reply.status <= 299:
                    acknowledged.setdefault(each.received.id, each.at)
            for received in sink.received:
                at = acknowledged.get(received.id)
                if at is not None and received.at > at:
                    found.append((received.id, at))
        return found
