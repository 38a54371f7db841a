"""How fast a sender may send: a bucket that all web processes share, spent in slices, and headers that say so."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from prometheus_client import REGISTRY

from participants import registry
from relay import limits
from relay.models import Message
from relay.shared_bucket import InFile, InRedis
from relay.token_bucket import AWAY_SECONDS, SLICE_SECONDS, Buckets, Rate, Shared, Taken, Unavailable, granted
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Post
from tests.relay.test_takes_batches import record

RATE = Rate(10, 100)


@pytest.mark.parametrize(
    ("tokens", "least", "want", "given"),
    [
        (100.0, 1, 5, 5),
        (3.9, 1, 5, 3),
        (1.0, 1, 5, 1),
        (0.9, 1, 5, 0),
        (4.0, 5, 5, 0),
        (100.0, 250, 250, 250),  # more than ever fits: a full bucket owes
        (99.0, 250, 250, 0),
        (-150.0, 1, 1, 0),
    ],
)
def test_a_bucket_gives_what_it_has(tokens: float, least: int, want: int, given: int) -> None:
    assert granted(tokens, least, want, RATE.burst) == given


@pytest.fixture(params=["file", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    if request.param == "file":
        return InFile(tmp_path / "rates")
    if not settings.REDIS_URL:
        pytest.skip("needs a Redis")
    return InRedis(settings.REDIS_URL)


def test_a_shared_bucket_empties_and_fills_again(shared: Shared) -> None:
    slow = Rate(1, 100)
    assert shared.take(1, slow, 60, 60).granted == 60
    taken = shared.take(1, slow, 1, 60)
    assert taken.granted == 40, "the rest"
    assert 0 <= taken.left < 1
    assert shared.take(1, slow, 1, 1).granted == 0
    assert shared.take(2, slow, 100, 100).granted == 100, "another sender's is another bucket"
    quick = Rate(100, 1000)
    assert shared.take(3, quick, 1000, 1000).granted == 1000
    time.sleep(0.05)
    assert 5 <= shared.take(3, quick, 5, 1000).granted <= 60


def test_a_shared_bucket_lets_a_batch_owe(shared: Shared) -> None:
    assert shared.take(1, RATE, 250, 250).granted == 250
    taken = shared.take(1, RATE, 1, 1)
    assert taken.granted == 0
    assert -150 <= taken.left < -149


def test_processes_together_get_no_more_than_the_bucket_holds(shared: Shared, tmp_path: Path) -> None:
    """Each with buckets of its own, all at once."""
    rate = Rate(1, 300)
    another = InFile(tmp_path / "rates") if isinstance(shared, InFile) else InRedis(settings.REDIS_URL)
    allowed: list[int] = []

    def work(buckets: Buckets) -> None:
        found = [buckets.spend(1, rate, 1) for _ in range(200)]
        assert None not in found
        allowed.append(sum(each.is_allowed for each in found if each))

    threads = [threading.Thread(target=work, args=(Buckets(each),)) for each in (shared, another, shared, another)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert 290 <= sum(allowed) <= 302, "no more; and at most a slice each less"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Played:
    """A shared bucket that counts how often it is asked."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.tokens: dict[int, tuple[float, float]] = {}
        self.asked = 0
        self.is_away = False

    def take(self, key: int, rate: Rate, least: int, want: int) -> Taken:
        self.asked += 1
        if self.is_away:
            raise Unavailable("away")
        tokens, at = self.tokens.get(key, (float(rate.burst), self.clock()))
        tokens = rate.refilled(tokens, self.clock() - at)
        given = granted(tokens, least, want, rate.burst)
        self.tokens[key] = (tokens - given, self.clock())
        return Taken(given, tokens - given)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def played(clock: Clock) -> Played:
    return Played(clock)


@pytest.fixture
def buckets(played: Played, clock: Clock) -> Buckets:
    return Buckets(played, clock)


def is_allowed(buckets: Buckets, rate: Rate, count: int = 1) -> bool:
    spent = buckets.spend(1, rate, count)
    assert spent is not None
    return spent.is_allowed


def test_a_message_seldom_costs_a_trip(buckets: Buckets, played: Played, clock: Clock) -> None:
    for _ in range(5000):
        clock.now += 0.002
        assert is_allowed(buckets, Rate(500, 5000))
    assert played.asked <= 5000 / 50 + 1


def test_a_slice_runs_out(buckets: Buckets, played: Played, clock: Clock) -> None:
    rate = Rate(100, 1000)
    assert is_allowed(buckets, rate)
    assert is_allowed(buckets, rate)
    assert played.asked == 1
    clock.now += SLICE_SECONDS
    assert is_allowed(buckets, rate)
    assert played.asked == 2


@pytest.mark.parametrize("rate", [Rate(1, 1000), Rate(10, 10_000), Rate(500, 5000)])
def test_who_sends_less_than_its_rate_keeps_its_burst(played: Played, clock: Clock, rate: Rate) -> None:
    """Whatever runs out with slices of two processes."""
    processes = [Buckets(played, clock), Buckets(played, clock)]
    for _ in range(1000):
        clock.now += SLICE_SECONDS + 1
        assert all(is_allowed(each, rate) for each in processes)
    clock.now += SLICE_SECONDS + 1
    assert is_allowed(processes[0], rate, rate.burst)


def test_an_empty_bucket_is_not_asked_again_before_it_can_give(
    buckets: Buckets, played: Played, clock: Clock
) -> None:
    rate = Rate(2, 4)
    assert [is_allowed(buckets, rate) for _ in range(5)] == [True] * 4 + [False]
    asked = played.asked
    spent = buckets.spend(1, rate, 1)
    assert spent is not None
    assert (spent.is_allowed, spent.left, spent.wait) == (False, 0, 0.5)
    assert played.asked == asked
    clock.now += 0.5
    assert is_allowed(buckets, rate)
    assert not is_allowed(buckets, rate)


def test_a_batch_that_is_refused_stops_no_single_message(buckets: Buckets) -> None:
    assert is_allowed(buckets, RATE, 90)
    assert not is_allowed(buckets, RATE, 50)
    assert is_allowed(buckets, RATE, 1)


def test_a_changed_rate_counts_at_once(buckets: Buckets, clock: Clock) -> None:
    assert is_allowed(buckets, Rate(1, 1000), 1000)
    assert not is_allowed(buckets, Rate(1, 1000))
    clock.now += 1
    assert is_allowed(buckets, Rate(100, 1000), 100), "a second's worth at the new rate"
    assert not is_allowed(buckets, Rate(100, 1000))


def test_without_the_shared_bucket_nothing_is_limited_and_it_is_left_alone_for_a_second(
    buckets: Buckets, played: Played, clock: Clock
) -> None:
    played.is_away = True
    assert [buckets.spend(1, RATE, 1) for _ in range(1000)] == [None] * 1000
    assert buckets.spend(2, RATE, 1) is None
    assert played.asked == 1
    clock.now += AWAY_SECONDS
    assert buckets.spend(1, RATE, 1) is None
    assert played.asked == 2
    played.is_away = False
    clock.now += AWAY_SECONDS
    assert buckets.spend(1, RATE, 1) is not None


def test_a_redis_that_is_away_or_hangs_costs_a_tenth_of_a_second() -> None:
    import socket

    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        for port in (1, hanging.getsockname()[1]):
            began = time.monotonic()
            with pytest.raises(Unavailable):
                InRedis(f"redis://127.0.0.1:{port}/0").take(1, RATE, 1, 1)
            assert time.monotonic() - began < 0.5


def test_a_file_that_cannot_be_used_is_a_bucket_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        InFile(tmp_path / "nowhere" / "rates").take(1, RATE, 1, 1)
    one, other = InFile(tmp_path / "rates"), InFile(tmp_path / "rates")
    one.take(1, RATE, 1, 1)
    import fcntl

    fcntl.flock(one._file, fcntl.LOCK_EX)
    with pytest.raises(Unavailable):
        other.take(1, RATE, 1, 1)


# -- over HTTP --


@pytest.fixture
def slow(settings: Any) -> Iterator[None]:
    settings.MESSAGES_PER_SECOND, settings.MESSAGES_BURST = 1, 3
    return None


def fields(header: str) -> dict[str, int]:
    name, *parameters = header.split(";")
    assert name == '"messages"'
    return {key: int(value) for key, value in (each.split("=") for each in parameters)}


@pytest.mark.django_db
@pytest.mark.usefixtures("slow")
def test_too_many_messages_are_refused_until_there_is_room(post: Post) -> None:
    sender, recipient = factories.participant(), factories.participant()
    for left in (2, 1, 0):
        answer = post(sender, recipient.name)
        assert answer.status_code == 202
        assert fields(answer["RateLimit-Policy"]) == {"q": 3, "w": 3}
        assert fields(answer["RateLimit"]) == {"r": left, "t": 3 - left}
    answer = post(sender, recipient.name)
    assert answer.status_code == 429
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:problem-type:dmr:too-many-messages"
    assert "1 messages a second, and 3 at once" in problem["detail"]
    assert answer["Retry-After"] == "1"
    assert fields(answer["RateLimit"]) == {"r": 0, "t": 1}
    assert Message.objects.count() == 3, "nothing was stored"
    assert post(recipient, sender.name).status_code == 202, "another sender has a rate of its own"
    time.sleep(1)
    assert post(sender, recipient.name).status_code == 202


@pytest.mark.django_db
@pytest.mark.usefixtures("slow")
def test_the_log_names_who_is_limited_once_a_minute(
    post: Post, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, other, recipient = (factories.participant() for _ in range(3))

    def told() -> list[tuple[str, str]]:
        facts = [vars(each)["facts"] for each in caplog.records if each.getMessage() == "sender_limited"]
        return [(each["participant"], each["code"]) for each in facts]

    for each in (sender, other, sender):
        while post(each, recipient.name).status_code == 202:
            pass
    assert told() == [(sender.name, "too-many-messages"), (other.name, "too-many-messages")]
    monkeypatch.setattr(limits, "TELL_SECONDS", 0.0)
    while post(sender, recipient.name).status_code == 202:
        pass
    assert set(told()[2:]) == {(sender.name, "too-many-messages")}


@pytest.mark.django_db
@pytest.mark.usefixtures("slow")
def test_every_way_to_send_counts_for_the_participant(client: Client, post: Post) -> None:
    bot, keyless = factories.participant(), factories.participant(source_networks="127.0.0.0/24")
    classifier = factories.participant(type="Classifier")
    room = factories.room("", bot, classifier)

    def drained(sender: Registered) -> bool:
        return bool(post(sender, bot.name).status_code == 429)

    for _ in range(3):
        assert post(classifier, bot.name, X_Sent_By="Classifier").status_code == 202
    assert drained(classifier), "the alias is no way round"
    for _ in range(3):
        assert post(keyless, bot.name, X_Api_Key=None).status_code == 202
    assert drained(keyless)
    assert post(keyless, bot.name, X_Api_Key=None).status_code == 429
    paths = ("/unclassified", f"/conversations/{classifier.name}/c1", f"/api/v1/rooms/{room.name}/messages")
    for path, expected in [(path, 202) for path in paths] + [(path, 429) for path in paths]:
        written = {"X-Api-Key": bot.key, "X-Sent-By": bot.name, "X-Message-Id": str(factories.uuid.uuid4())}
        answer = client.generic("POST", path, b"x", content_type="text/plain", headers=written)
        assert answer.status_code == expected, path
    assert drained(bot)


@pytest.mark.django_db
@pytest.mark.usefixtures("slow")
def test_a_batch_counts_as_many_as_it_holds(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()

    def send(count: int) -> Any:
        body = b"".join(record(sender, recipient.name) for _ in range(count))
        return client.generic("POST", "/api/v1/messages/batch", body, headers=sender.auth)

    answer = send(2)
    assert answer.status_code == 202
    assert fields(answer["RateLimit"])["r"] == 1
    refused = send(2)
    assert refused.status_code == 429
    assert Message.objects.count() == 2, "a batch is taken whole or not at all"
    assert send(1).status_code == 202


@pytest.mark.django_db
@pytest.mark.usefixtures("slow")
def test_error_messages_of_our_own_are_not_limited(post: Post) -> None:
    sender = factories.participant()
    registry.update(_with(sender, messages_per_second=100), actor="tests")
    for _ in range(10):
        assert post(sender, "nobody-here").status_code == 202
    assert Message.objects.filter(sent_by="Dmr").count() == 10


def _with(who: Registered, **values: Any) -> Any:
    for name, value in values.items():
        setattr(who.row, name, value)
    return who.row


@pytest.mark.django_db
@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    ("own", "policy"),
    [
        ({}, {"q": 3, "w": 3}),
        ({"messages_per_second": 7}, {"q": 70, "w": 10}),
        ({"messages_per_second": 7, "messages_burst": 20}, {"q": 20, "w": 3}),
        ({"messages_burst": 9}, {"q": 9, "w": 9}),
        ({"messages_per_second": 0}, None),
    ],
)
def test_staff_give_a_participant_limits_of_its_own(
    post: Post, own: dict[str, int], policy: dict[str, int] | None
) -> None:
    sender, recipient = factories.participant(), factories.participant()
    post(sender, recipient.name)
    registry.update(_with(sender, **own), actor="tests")
    answer = post(sender, recipient.name)
    assert answer.status_code == 202
    if policy is None:
        assert "RateLimit" not in answer.headers
        assert all(post(sender, recipient.name).status_code == 202 for _ in range(10))
    else:
        assert fields(answer["RateLimit-Policy"]) == policy


@pytest.mark.django_db
@pytest.mark.usefixtures("slow")
def test_where_the_shared_bucket_is_away_all_are_accepted_and_counted(
    post: Post, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "_buckets", Buckets(InFile(tmp_path / "nowhere" / "rates")))
    sender, recipient = factories.participant(), factories.participant()
    before = REGISTRY.get_sample_value("dmr_rate_limit_unavailable_total") or 0.0
    for _ in range(5):
        answer = post(sender, recipient.name)
        assert answer.status_code == 202
        assert "RateLimit" not in answer.headers, "nothing is known"
    assert REGISTRY.get_sample_value("dmr_rate_limit_unavailable_total") == before + 5


@pytest.mark.django_db
def test_by_default_five_hundred_a_second_and_ten_seconds_of_it_at_once(post: Post) -> None:
    sender = factories.participant()
    answer = post(sender, sender.name, base64.b64encode(b"x"))
    assert fields(answer["RateLimit-Policy"]) == {"q": 5000, "w": 10}
