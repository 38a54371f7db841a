"""Under a steady load something fails: what was accepted arrives, in order, and only what was in flight comes again.

One product for all, and on PostgreSQL and Redis servers of their own that can be stopped. See load.py for what is
counted as a repeat, and when one is explained.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.integration.fixtures import a_folder
from tests.integration.load import RATE, RECIPIENTS, Load
from tests.integration.product import Product, a_product, parent_of, wait_until
from tests.integration.sinks import Behaviour, Received, Reply, Sink
from tests.servers import Servers, stoppable

MakeSink = Callable[..., Sink]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
needs_servers = pytest.mark.skipif("DATABASE_URL" not in os.environ, reason="the embedded default has no servers")

MOST_IN_FLIGHT = 16 * RECIPIENTS  # of one worker; docs/guarantees.md, 6
LEASE_SECONDS = 30


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers | None]:
    """None on the embedded default."""
    if "DATABASE_URL" not in os.environ:
        yield None
        return
    with stoppable("postgres", "redis") as own:
        yield own


@pytest.fixture(scope="module")
def product(servers: Servers | None) -> Iterator[Product]:
    environment = {"DATABASE_URL": servers.urls["postgres"], "REDIS_URL": servers.urls["redis"]} if servers else {}
    with a_folder() as folder, a_product(folder, environment) as running:
        yield running
        print(running.output)


@pytest.fixture
def load(product: Product, sink: MakeSink) -> Load:
    return Load(product, sink)


def test_web_and_beat_killed(product: Product, load: Load) -> None:
    """Neither delivers: nothing comes again. The web's master, then one of its own processes."""
    with load.running():
        product.kill_and_see_it_back("beat")
        product.kill_and_see_it_back("web")
        load.flow(seconds=40)
        master = product.pid("web")
        os.kill(next(pid for pid in product.processes() if parent_of(pid) == master), signal.SIGKILL)
        load.flow(seconds=40)
    load.reckon(repeats=0)


def test_worker_killed(product: Product, load: Load) -> None:
    """What it had in flight comes again when the leases have run out; its conversations wait for that."""
    with load.running():
        load.have_much_in_flight()
        with load.fault():
            product.kill_and_see_it_back("worker")
        load.flow(seconds=LEASE_SECONDS + 30)
    load.reckon(repeats=MOST_IN_FLIGHT)
    assert load.repeats(), "it had something in flight"


def test_broker_emptied(product: Product, load: Load) -> None:
    with load.running():
        for _ in range(3):
            product.lose_the_broker()
            load.flow()
    load.reckon(repeats=0)


@needs_servers
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_redis_restarted(servers: Servers, product: Product, load: Load, how: str) -> None:
    """Accepting goes on meanwhile."""
    with load.running():
        servers.stop("redis", how)
        before = len(load.accepted)
        wait_until(lambda: len(load.accepted) >= before + RATE, 20, "messages are accepted without Redis")
        servers.start("redis")
        load.flow(seconds=40)
    load.reckon(repeats=0)


def stop_the_database(servers: Servers, product: Product, how: str) -> None:
    """Until the web has noticed."""
    servers.stop("postgres", how)
    wait_until(lambda: product.call("/readyz").status == 503, 20, "the web knows that the database is away")
    servers.start("postgres")


@needs_servers
def test_postgres_restarted(servers: Servers, product: Product, load: Load) -> None:
    """A worker keeps what it has attempted until it can write it down: nothing comes again."""
    with load.running():
        stop_the_database(servers, product, "fast")
        load.flow(seconds=LEASE_SECONDS + 30)
    load.reckon(repeats=0)


@needs_servers
def test_postgres_crashed(servers: Servers, product: Product, load: Load) -> None:
    """The pump commits without waiting for the disk: the outcomes of the last moment are undone (docs/adr/0008)."""
    with load.running():
        with load.fault(before=2):
            stop_the_database(servers, product, "immediate")
        load.flow(seconds=LEASE_SECONDS + 30)
    load.reckon(repeats=MOST_IN_FLIGHT + int(2 * RATE))


def test_recipients_away_for_30_s(load: Load) -> None:
    """What they had in hand was acknowledged in vain. Then the breakers' probes find them again."""
    with load.running():
        with load.fault():
            for each in load.sinks:
                each.close()
        time.sleep(30)
        for each in load.sinks:
            each.open()
        load.flow(seconds=90)
    load.reckon(repeats=MOST_IN_FLIGHT, seconds=90)


def at_random(share: float, most_of_each: int) -> Behaviour:
    """500 to that share of requests, and so often to one message at most, so that its pauses stay short."""
    chance = random.Random(1)
    failed: Counter[str] = Counter()

    def behave(received: Received) -> Reply:
        if failed[received.id] < most_of_each and chance.random() < share:
            failed[received.id] += 1
            return Reply(500)
        return Reply(202, after=0.05)

    return behave


def test_recipients_fail_at_random(load: Load) -> None:
    """A head that fails holds back its conversation alone; what was acknowledged does not come again."""
    for each in load.sinks:
        each.behaviour = at_random(0.3, most_of_each=2)
    with load.running():
        load.flow(messages=150, seconds=60)
    assert any(each.reply.status == 500 for sink in load.sinks for each in sink.answered)
    load.reckon(repeats=0)


@needs_servers
def test_worker_stopped_past_its_leases(product: Product, load: Load) -> None:
    """Of two workers on one database one stands still: the other takes over, and the first comes too late."""
    with product.another_worker(), load.running():
        load.delivers(product.pid("worker"))
        load.have_much_in_flight()
        lost = product.metric("dmr_leases_lost_total")
        with load.fault():
            load.stop_with_some_in_flight(product.pid("worker"))
        try:
            load.flow(seconds=LEASE_SECONDS + 30)
            wait_until(lambda: product.metric("dmr_leases_lost_total") > lost, LEASE_SECONDS + 15, "leases run out")
            load.flow()
        finally:
            os.kill(product.pid("worker"), signal.SIGCONT)
        load.delivers(product.pid("worker"))
        load.flow()
    load.reckon(repeats=MOST_IN_FLIGHT)


def set_quota(product: Product, name: str, size: int | None) -> None:
    product.shell(
        "from participants import registry; from participants.models import Participant\n"
        f"row = Participant.objects.get(name={name!r}); row.stored_bytes_limit = {size}\n"
        "registry.update(row, actor='tests')"
    )


def test_quota_reached(product: Product, load: Load) -> None:
    """One sender is refused, and what is refused is not stored; the others go on, and so does it with more room."""
    (sender, _), *_ = load.senders
    with load.running():
        set_quota(product, sender.name, 20_000)
        wait_until(lambda: load.refused, 30, "the quota is reached")
        load.flow()
        set_quota(product, sender.name, None)
        count = len(load.accepted)
        wait_until(lambda: any(each.sender == sender for each in load.accepted[count:]), 20, "it may send again")
    assert {each.sender for each in load.refused} == {sender}
    load.reckon(repeats=0)


@contextlib.contextmanager
def full_disk(url: str) -> Iterator[None]:
    """As far as whoever accepts can tell: PostgreSQL fails as where it cannot extend the file of the messages."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$
            """
        )
        connection.execute("CREATE TRIGGER no_room BEFORE INSERT ON relay_message EXECUTE FUNCTION no_room()")
        try:
            yield
        finally:
            connection.execute("DROP FUNCTION no_room() CASCADE")


@needs_servers
def test_disk_full(product: Product, load: Load) -> None:
    """503, nothing half stored; what was accepted before is delivered meanwhile, and then all goes on."""
    with load.running():
        with full_disk(product.environment["DATABASE_URL"]):
            wait_until(lambda: product.call("/readyz").status == 503, 20, "it is known")
            before = {each.id for each in load.accepted if each.recipient != load.refusing}
            wait_until(lambda: before <= {each.id for each in load.received()}, 20, "what was accepted arrives")
        load.flow(seconds=40)
    load.reckon(repeats=0)
