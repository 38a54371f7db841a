"""Participants that fetch their messages, with the real server: polls that wait, and what a kill does to leases."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import os
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dmr_project.server import WEB_WORKERS
from relay.inbox.waiting import MOST_WAITING
from tests.integration.product import Participant, Product, call, parent_of, wait_until

UNREACHABLE = "http://127.0.0.1:9/messages"
THREADS = 10  # of each web process, each with a connection at most; see dmr_project.rsgi
CONNECTIONS_OF_OTHERS = 10  # the Celery worker's and beat's


def pulling(product: Product) -> Participant:
    made = product.register(UNREACHABLE)
    answer = product.call("/api/v1/my/delivery-mode", "POST", b'{"mode": "pull"}', X_Api_Key=made.key)
    assert answer.status == 200, answer
    return made


def poll(product: Product, recipient: Participant, query: str = "wait=25") -> Any:
    answer = call(f"{product.url}/api/v1/inbox?{query}", headers={"X-Api-Key": recipient.key}, timeout=40)
    assert answer.status == 200, answer
    return answer.json()


def ack(product: Product, recipient: Participant, *leases: str) -> list[str]:
    said = json.dumps({"leases": leases}).encode()
    answer = product.call("/api/v1/inbox/ack", "POST", said, X_Api_Key=recipient.key)
    assert answer.status == 200, answer
    return [each["result"] for each in answer.json()["results"]]


class Waiting:
    """Polls in threads of their own."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.answers: list[tuple[float, Any]] = []  # when, and what (None: the connection broke)
        self.threads: list[threading.Thread] = []

    def start(self, recipient: Participant) -> None:
        self.threads.append(threading.Thread(target=self._poll, args=(recipient,), daemon=True))
        self.threads[-1].start()

    def _poll(self, recipient: Participant) -> None:
        said = None
        with contextlib.suppress(OSError):
            said = poll(self.product, recipient)
        self.answers.append((time.monotonic(), said))

    def join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))
            assert not thread.is_alive(), "a poll is still waiting"


@contextlib.contextmanager
def a_poll_that_hangs_up(product: Product, recipient: Participant) -> Iterator[None]:
    request = f"GET /api/v1/inbox?wait=25 HTTP/1.1\r\nHost: dmr.test\r\nX-Api-Key: {recipient.key}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", product.port)) as client:
        client.sendall(request.encode())
        yield


def number_waiting(product: Product) -> int:
    return int(product.metric("dmr_inbox_waiting"))


def test_a_poll_is_answered_a_moment_after_a_message_is_accepted(product: Product) -> None:
    sender, recipient = product.register(UNREACHABLE), pulling(product)
    polls = Waiting(product)
    polls.start(recipient)
    wait_until(lambda: number_waiting(product) == 1, 10)
    sent_at = time.monotonic()
    message_id = product.send(sender, recipient.name, bytes(range(256)))
    polls.join(10)
    ((answered_at, said),) = polls.answers
    assert answered_at - sent_at < 3
    (message,) = said["messages"]
    assert (message["messageId"], message["sentBy"]) == (message_id, sender.name)
    assert base64.b64decode(message["payload"]) == bytes(range(256))
    assert product.status_of(sender, message_id)["state"] == "delivering"
    assert ack(product, recipient, message["lease"]) == ["delivered"]
    assert product.status_of(sender, message_id)["state"] == "delivered"
    assert number_waiting(product) == 0


def test_a_poll_ends_empty_when_its_time_is_over(product: Product) -> None:
    recipient = pulling(product)
    began = time.monotonic()
    assert poll(product, recipient, "wait=1") == {"messages": [], "nextPollSeconds": 0}
    assert 1 <= time.monotonic() - began < 4


def test_nothing_is_leased_for_who_has_hung_up(product: Product) -> None:
    sender, recipient = product.register(UNREACHABLE), pulling(product)
    with a_poll_that_hangs_up(product, recipient):
        wait_until(lambda: number_waiting(product) == 1, 10)
    wait_until(lambda: number_waiting(product) == 0, 10)
    message_id = product.send(sender, recipient.name)
    time.sleep(0.6)  # more than two looks
    assert product.status_of(sender, message_id)["state"] == "pending"
    (message,) = poll(product, recipient)["messages"]
    assert message["attempt"] == 1
    ack(product, recipient, message["lease"])


def test_the_third_poll_of_one_participant_does_not_wait(product: Product) -> None:
    """There are several web processes, which don't know of each other."""
    recipient = pulling(product)
    allowed = 2 * WEB_WORKERS
    with contextlib.ExitStack() as stack:
        for _ in range(40):  # a connection goes to either process
            stack.enter_context(a_poll_that_hangs_up(product, recipient))
        wait_until(lambda: number_waiting(product) == allowed, 10)
        began = time.monotonic()
        said = poll(product, recipient)
        assert time.monotonic() - began < 5
        assert said["messages"] == []
        assert said["nextPollSeconds"] > 0
        assert number_waiting(product) == allowed
    wait_until(lambda: number_waiting(product) == 0, 10)


def database_connections(product: Product) -> int:
    """Those to PostgreSQL, ours for asking left out; with SQLite, how often the web processes have its file open."""
    url = product.environment.get("DATABASE_URL")
    if url:
        import psycopg

        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
            assert row is not None
            return int(row[0])
    file = product.data_dir / "dmr.sqlite3"
    web = product.pid("web")
    workers = [pid for pid in product.processes() if parent_of(pid) == web]
    assert len(workers) >= WEB_WORKERS
    found = 0
    for worker in workers:
        for link in Path(f"/proc/{worker}/fd").iterdir():
            with contextlib.suppress(OSError):
                found += os.readlink(link) == str(file)
    return found


def test_a_hundred_polls_that_wait_are_in_nobodys_way(own_product: Product) -> None:
    """Others are accepted promptly meanwhile, and no poll holds a connection; then each gets its message."""
    product = own_product
    sender = product.register(UNREACHABLE)
    recipients = [pulling(product) for _ in range(100)]
    polls = Waiting(product)
    for each in recipients:
        polls.start(each)
    wait_until(lambda: number_waiting(product) == 100, 20)
    took = []
    for each in recipients[:20]:
        began = time.monotonic()
        product.send(sender, each.name, each.name.encode())
        took.append(time.monotonic() - began)
    assert sorted(took)[10] < 1, took
    assert max(took) < 5, took
    assert database_connections(product) <= WEB_WORKERS * THREADS + CONNECTIONS_OF_OTHERS
    for each in recipients[20:]:
        product.send(sender, each.name, each.name.encode())
    polls.join(15)
    got = [base64.b64decode(said["messages"][0]["payload"]).decode() for _, said in polls.answers]
    assert sorted(got) == sorted(each.name for each in recipients)


MAKE_MANY = """
import json
from django.db import transaction
from participants import registry
from participants.models import Announcement, Institution, Participant
office = registry.add(Institution(name="many"), actor="tests")
keys = []
with transaction.atomic():
    for number in range({count}):
        row = Participant(name=f"many-{{number}}", institution=office, host="{host}", delivery_mode="pull")
        keys.append(registry.register(row, actor="tests"))
    Announcement.objects.filter(kind="registration").delete()  # they would find that in their inboxes
print(json.dumps(keys))
"""


class ManyPolls:
    """Polls over plain sockets, that ask again when they have waited in vain, until they find no place."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.sockets = selectors.DefaultSelector()
        self.turned_away: list[tuple[http.client.HTTPMessage, Any]] = []

    def start(self, key: str) -> None:
        client = socket.create_connection(("127.0.0.1", self.product.port), timeout=30)
        self.sockets.register(client, selectors.EVENT_READ, key)
        self._ask(client, key)

    def _ask(self, client: socket.socket, key: str) -> None:
        request = f"GET /api/v1/inbox?wait=25 HTTP/1.1\r\nHost: dmr.test\r\nX-Api-Key: {key}\r\n\r\n"
        client.sendall(request.encode())

    def unanswered(self) -> int:
        """How many there are, now that the answers that are there were read."""
        for found, _ in self.sockets.select(timeout=0):
            client = found.fileobj
            assert isinstance(client, socket.socket)
            response = http.client.HTTPResponse(client)
            response.begin()
            assert response.status == 200
            said = json.loads(response.read())
            assert said["messages"] == []
            if said["nextPollSeconds"] == 0:
                self._ask(client, found.data)
            else:
                self.turned_away.append((response.headers, said))
                self.sockets.unregister(client)
                client.close()
        return len(self.sockets.get_map())

    def close(self) -> None:
        for found in list(self.sockets.get_map().values()):
            assert isinstance(found.fileobj, socket.socket)
            found.fileobj.close()
        self.sockets.close()


def test_who_finds_no_place_is_told_at_once_when_to_come_again(own_product: Product) -> None:
    """All places of all web processes are taken, by participants that are each within their own two."""
    product, places = own_product, WEB_WORKERS * MOST_WAITING
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    keys = json.loads(product.shell(MAKE_MANY.format(count=places, host=UNREACHABLE)))
    sender, polls = product.register(UNREACHABLE), ManyPolls(product)

    def all_taken() -> bool:
        return polls.unanswered() == places == number_waiting(product)

    try:
        waiting = itertools.cycle(keys)
        for _ in range(2 * places // 64):  # a connection goes to either process
            for key in itertools.islice(waiting, 64):
                polls.start(key)
            # Each waits, or is told that it cannot.
            wait_until(lambda: polls.unanswered() <= number_waiting(product), 30, "all have been looked at")
            if all_taken():
                break
        wait_until(all_taken, 30, "all places are taken")
        assert database_connections(product) <= WEB_WORKERS * THREADS + CONNECTIONS_OF_OTHERS
        before = len(polls.turned_away)
        polls.start(next(waiting))
        wait_until(lambda: polls.unanswered() == places and len(polls.turned_away) > before, 5, "it is told at once")
        for headers, said in polls.turned_away:
            assert 3 <= said["nextPollSeconds"] <= 8
            assert headers["Retry-After"] == str(said["nextPollSeconds"])
        assert product.metric("dmr_inbox_polls_total", result="turned_away") == len(polls.turned_away)
        began = time.monotonic()
        product.send(sender, "many-1")
        assert time.monotonic() - began < 5, "others are served meanwhile"
    finally:
        polls.close()
    wait_until(lambda: number_waiting(product) == 0, 20, "who hangs up leaves its place")


def test_a_kill_of_web_loses_nothing_that_is_leased(own_product: Product) -> None:
    product = own_product
    sender, recipient = product.register(UNREACHABLE), pulling(product)
    leased = [product.send(sender, recipient.name, b"%d" % number) for number in range(3)]
    first = poll(product, recipient, "limit=1&lease=600")["messages"]
    first += poll(product, recipient, "limit=3&lease=5")["messages"]
    assert [each["messageId"] for each in first] == leased
    idle = pulling(product)
    polls = Waiting(product)
    polls.start(idle)
    wait_until(lambda: number_waiting(product) == 1, 10)
    product.kill("web", group=True)
    polls.join(10)
    product.wait_ready()
    assert number_waiting(product) == 0, "those that waited in a dead process wait no more"
    # The lease outlives the process: what is acknowledged in time is delivered.
    assert ack(product, recipient, first[0]["lease"]) == ["delivered"]
    again = []
    wait_until(lambda: again.extend(poll(product, recipient, "wait=5")["messages"]) or len(again) == 2, 30)
    assert [(each["messageId"], each["attempt"]) for each in again] == [(leased[1], 2), (leased[2], 2)]
    assert ack(product, recipient, first[1]["lease"], again[0]["lease"], again[1]["lease"]) == [
        "lost",
        "delivered",
        "delivered",
    ]
    for message_id in leased:
        assert product.status_of(sender, message_id)["state"] == "delivered"


def test_polls_that_wait_are_answered_when_the_product_stops(own_product: Product) -> None:
    product = own_product
    polls = Waiting(product)
    for _ in range(4):
        polls.start(pulling(product))
    wait_until(lambda: number_waiting(product) == 4, 10)
    began = time.monotonic()
    assert product.stop() < 10
    polls.join(1)
    assert [said for _, said in polls.answers] == [{"messages": [], "nextPollSeconds": 0}] * 4
    assert max(at for at, _ in polls.answers) - began < 3


@pytest.mark.slow
def test_a_poll_waits_for_25_seconds(product: Product) -> None:
    began = time.monotonic()
    poll(product, pulling(product), "wait=1000")
    assert 24 <= time.monotonic() - began < 30
