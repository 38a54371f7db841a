"""The broker that needs no server, and what happens to its folders."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from queue import Empty
from typing import Any

import pytest
from django.conf import settings as django_settings
from kombu import Connection
from kombu.exceptions import OperationalError

from dmr_project import embedded_broker


@pytest.fixture
def channel(tmp_path: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from kombu.transport import filesystem

    monkeypatch.setattr(filesystem.Transport, "Channel", filesystem.Transport.Channel)
    settings.BROKER_DIR = tmp_path / "broker"
    embedded_broker.install()
    with Connection("filesystem://") as connection:
        yield connection.channel()


def test_takes_in_order_and_once(channel: Any) -> None:
    for number in range(3):
        channel._put("delivery", {"number": number})
    channel._put("maintenance", {"number": 9})
    assert [channel._get("delivery")["number"] for _ in range(3)] == [0, 1, 2]
    assert channel._get("maintenance")["number"] == 9
    with pytest.raises(Empty):
        channel._get("delivery")
    assert list((django_settings.BROKER_DIR / "queue").iterdir()) == []


def test_survives_the_loss_of_its_folder(channel: Any) -> None:
    channel._put("delivery", {})
    shutil.rmtree(django_settings.BROKER_DIR)
    with pytest.raises(Empty):
        channel._get("delivery")
    channel._put("delivery", {"number": 1})
    assert channel._get("delivery") == {"number": 1}


def test_outlasts_the_absence_of_its_folder(channel: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A file stands in its place: polls find nothing, and say so once; publishing fails as without a server."""
    channel._put("delivery", {})
    shutil.rmtree(django_settings.BROKER_DIR)
    django_settings.BROKER_DIR.touch()
    for _ in range(3):
        with pytest.raises(Empty):
            channel._get("delivery")
    assert channel._size("delivery") == channel._purge("delivery") == 0
    assert [each.message for each in caplog.records] == ["broker_folder_unreadable"]
    with pytest.raises(channel.connection.client.connection_errors, match="cannot be written"):
        channel._put("delivery", {})
    embedded_broker.install()  # a process that starts now starts
    django_settings.BROKER_DIR.unlink()
    channel._put("delivery", {"number": 1})
    assert channel._get("delivery") == {"number": 1}


def test_a_task_cannot_be_sent_while_its_folder_is_away(channel: Any) -> None:
    """What a caller of Celery sees is what it sees without a server."""
    django_settings.BROKER_DIR.touch()
    producer = channel.connection.client.Producer()
    with pytest.raises(OperationalError):
        with channel.connection.client._reraise_as_library_errors():
            producer.publish({}, routing_key="delivery")


def test_skips_what_is_damaged(channel: Any) -> None:
    folder = embedded_broker.make_folders()
    (folder / "0.delivery.msg").write_text("{half")
    channel._put("delivery", {"number": 1})
    assert channel._get("delivery") == {"number": 1}


def test_does_not_grow_without_end(channel: Any) -> None:
    for number in range(embedded_broker.MOST_WAITING + 10):
        channel._put("delivery", {"number": number})
    assert channel._size("delivery") == embedded_broker.MOST_WAITING
    assert channel._purge("delivery") == embedded_broker.MOST_WAITING
    assert channel._size("delivery") == 0


def test_folder_is_private(channel: Any) -> None:
    assert embedded_broker.make_folders().stat().st_mode & 0o077 == 0
