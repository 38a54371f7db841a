"""The keys that sign what leaves: made once, rotated with an overlap, replaced at once."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from datetime import timezone as zone
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dmr_project import server
from participants import signing_keys
from participants.models import Change
from relay import delivery_keys
from relay.delivery_keys import DeliveryKeyUnreadable, Keyring, RotationUnderWay
from relay.models import DeliveryKey

State = DeliveryKey.State
NOW = datetime(2026, 5, 4, 12, tzinfo=zone.utc)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[time_machine.Traveller]:
    monkeypatch.setattr(signing_keys, "REFRESH_SECONDS", -1.0)  # this clock does not move that of the refresh
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def states() -> list[str]:
    return [row.state(timezone.now()) for row in DeliveryKey.objects.order_by("number")]


def key_ids() -> set[str]:
    return {row.key_id for row in delivery_keys.published()}


@pytest.mark.django_db
def test_the_first_key_is_made_once_and_signs_at_once(clock: Any) -> None:
    made = delivery_keys.ensure()
    assert delivery_keys.ensure() == made
    assert states() == [State.SIGNING]
    assert Change.objects.get(kind="deliverykey").actor == "system"


@pytest.mark.django_db(transaction=True)
def test_of_processes_that_need_the_first_key_at_once_one_makes_it() -> None:
    barrier, found = threading.Barrier(4), []

    def need() -> None:
        try:
            barrier.wait()
            found.append(Keyring().signer().key_id)
        finally:
            connection.close()

    threads = [threading.Thread(target=need) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert set(found) == {DeliveryKey.objects.get().key_id}


@pytest.mark.django_db
def test_a_rotation_publishes_first_signs_later_and_overlaps(clock: Any, settings: Any) -> None:
    settings.DELIVERY_KEY_LEAD, settings.DELIVERY_KEY_OVERLAP = 3600, 24 * 3600
    keyring = Keyring()
    old = keyring.signer().key_id
    new = delivery_keys.rotate(actor="anna", reason="yearly").key_id
    assert states() == [State.SIGNING, State.NEXT]
    assert key_ids() == {old, new}
    clock.shift(timedelta(minutes=59))
    assert (keyring.signer().key_id, Keyring().signer().key_id) == (old, old)
    clock.shift(timedelta(minutes=1))
    assert states() == [State.RETIRED, State.SIGNING]
    assert (keyring.signer().key_id, Keyring().signer().key_id) == (new, new)
    assert key_ids() == {old, new}
    clock.shift(timedelta(hours=24))
    assert states() == [State.WITHDRAWN, State.SIGNING]
    assert key_ids() == {new}


@pytest.mark.django_db
def test_one_rotation_at_a_time(clock: Any) -> None:
    delivery_keys.rotate(actor="anna")
    with pytest.raises(RotationUnderWay, match="signs from"):
        delivery_keys.rotate(actor="anna")
    assert len(states()) == 2
    clock.shift(timedelta(hours=2))
    delivery_keys.rotate(actor="anna")
    assert states() == [State.RETIRED, State.SIGNING, State.NEXT]


@pytest.mark.django_db(transaction=True)
def test_of_two_rotations_at_the_same_moment_one_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen the same newest key."""
    seen = delivery_keys.ensure()
    delivery_keys.rotate(actor="anna")
    monkeypatch.setattr(delivery_keys.keys, "ensure", lambda: seen)
    for act in (delivery_keys.rotate, delivery_keys.replace):
        seen.signs_until = seen.published_until = None
        with pytest.raises(RotationUnderWay):
            act(actor="bert")
    assert len(states()) == 2
    assert State.REVOKED not in states(), "what was refused has changed nothing"


@pytest.mark.django_db
def test_replacing_revokes_all_others_at_once(clock: Any) -> None:
    delivery_keys.rotate(actor="anna")
    clock.shift(timedelta(hours=2))
    delivery_keys.rotate(actor="anna")
    assert states() == [State.RETIRED, State.SIGNING, State.NEXT]
    new = delivery_keys.replace(actor="anna", reason="a laptop was stolen")
    assert states() == [State.REVOKED, State.REVOKED, State.REVOKED, State.SIGNING]
    assert key_ids() == {new.key_id}
    assert Keyring().signer().key_id == new.key_id


@pytest.mark.django_db
def test_a_process_follows_within_two_seconds(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    at = [1000.0]
    monkeypatch.setattr(signing_keys.time, "monotonic", lambda: at[0])
    keyring = Keyring()
    old = keyring.signer()
    new = delivery_keys.replace(actor="anna")
    with django_assert_num_queries(0):
        assert keyring.signer() is old, "no question to the database for each delivery"
    at[0] += signing_keys.REFRESH_SECONDS + 0.1
    with django_assert_num_queries(1):
        assert keyring.signer().key_id == new.key_id


@pytest.mark.django_db
def test_the_private_key_lies_encrypted_and_shows_nowhere(admin_client: Client, client: Client) -> None:
    row = delivery_keys.ensure()
    raw = delivery_keys.unsealed(row).private_bytes_raw()
    forms = [raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")]
    pages = [
        reverse("admin:relay_deliverykey_changelist"),
        reverse("admin:relay_deliverykey_change", args=[row.pk]),
        reverse("admin:participants_change_changelist"),
        "/.well-known/jwks.json",
        "/.well-known/dmr-delivery-keys",
    ]
    seen = [row.sealed.encode(), repr(list(Change.objects.values())).encode()]
    for page in pages:
        answer = admin_client.get(page)
        assert answer.status_code == 200, page
        assert row.sealed.encode() not in answer.content
        seen.append(answer.content)
    assert row.key_id.encode() in seen[2]
    for form in forms:
        assert not any(form in each for each in seen)
    assert "sealed" not in Change.objects.get(kind="deliverykey", action="make").after


@pytest.mark.django_db
def test_who_when_and_why_is_kept() -> None:
    old = delivery_keys.ensure()
    new = delivery_keys.rotate(actor="anna", reason="yearly")
    said = Change.objects.get(kind="deliverykey", action="rotate")
    assert (said.actor, said.subject, said.reason) == ("anna", new.key_id, "yearly")
    retired = Change.objects.get(kind="deliverykey", action="retire")
    assert retired.subject == old.key_id
    assert retired.before["signs_until"] is None
    assert retired.after["signs_until"]
    delivery_keys.replace(actor="bert", reason="leak")
    revoked = Change.objects.filter(kind="deliverykey", action="revoke", actor="bert", reason="leak")
    assert {change.subject for change in revoked} == {old.key_id, new.key_id}


@pytest.mark.django_db
def test_the_database_refuses_times_out_of_order() -> None:
    row = delivery_keys.ensure()
    for times in (
        {"signs_until": row.signs_from},
        {"published_until": row.signs_from},
        {"signs_until": row.signs_from - timedelta(1), "published_until": row.signs_from},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            DeliveryKey.objects.update(**times)


# -- a changed DMR_SECRET_KEY --


@pytest.mark.django_db(transaction=True)  # it closes its connection
def test_a_start_encrypts_anew_so_that_the_old_secret_can_go(settings: Any) -> None:
    old, key_id = settings.SECRET_KEY, delivery_keys.ensure().key_id
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another secret key", [old]
    server.prepare_database(is_production=False)
    settings.SECRET_KEY_FALLBACKS = []
    assert Keyring().signer().key_id == key_id
    assert delivery_keys.reseal() == 0


@pytest.mark.django_db(transaction=True)  # it closes its connection
def test_a_start_that_cannot_read_the_key_is_refused_with_what_to_do(settings: Any) -> None:
    delivery_keys.ensure()
    settings.SECRET_KEY = "another secret key"
    with pytest.raises(SystemExit, match=r"DMR_SECRET_KEY: .*DMR_SECRET_KEY_FALLBACKS.*rotate --now"):
        server.prepare_database(is_production=False)
    with pytest.raises(DeliveryKeyUnreadable):
        Keyring().signer()
    delivery_keys.replace(actor="anna", reason="the old secret is lost")
    server.prepare_database(is_production=False)
    assert Keyring().signer()


# -- staff --


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("delivery_key", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_command(admin_user: User) -> None:
    assert "is published, and signs from" in run("rotate", "--user", "admin", "--reason", "yearly")
    assert Change.objects.get(action="rotate").actor == "admin"
    newest, oldest = run("list").splitlines()
    assert " next signs from " in newest
    assert " signing signs from " in oldest
    assert "published until" in oldest
    with pytest.raises(CommandError, match="is published and signs from"):
        run("rotate", "--user", "admin")
    with pytest.raises(CommandError, match="There is no user"):
        run("rotate", "--now", "--user", "nobody")
    assert "signs from now on; all others are revoked" in run("rotate", "--now", "--user", "admin")
    assert [line.split()[1] for line in run("list").splitlines()] == ["signing", "revoked", "revoked"]


ROTATE = "/admin/relay/deliverykey/rotate/"
LIST = "/admin/relay/deliverykey/"


@pytest.mark.django_db
def test_one_button_rotates(admin_client: Client) -> None:
    page = admin_client.get(LIST).content.decode()
    assert "Rotate the delivery key" in page
    assert "signs after 1 h" in page
    said = admin_client.post(ROTATE, {"reason": "yearly"}, follow=True).content.decode()
    assert "is published, and signs from" in said
    assert states() == [State.SIGNING, State.NEXT]
    said = admin_client.post(ROTATE, {}, follow=True).content.decode()
    assert "replace it at once instead" in said
    assert len(states()) == 2
    said = admin_client.post(ROTATE, {"reason": "leak", "at_once": "on"}, follow=True).content.decode()
    assert "all others are revoked" in said
    assert states() == [State.REVOKED, State.REVOKED, State.SIGNING]
    assert {change.actor for change in Change.objects.filter(action__in=("rotate", "replace"))} == {"admin"}


@pytest.mark.django_db
def test_only_those_who_may_rotate(client: Client) -> None:
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_deliverykey"))
    client.force_login(viewer)
    assert "Rotate the delivery key" not in client.get(LIST).content.decode()
    assert client.post(ROTATE).status_code == 403
    assert client.get(ROTATE).status_code == 405
    assert not DeliveryKey.objects.filter(number=2).exists()
