"""Each change of an alert is told to staff by mail, once, and the mail server may be down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.utils import timezone

from observability import alerts, notices
from observability.models import AlertChange
from tests.observability.conftest import Agent, Clock
from tests.staff import people

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_but_staff(settings: Any) -> None:
    settings.MANAGERS = []


def evaluate() -> None:
    """As observability.evaluate does."""
    alerts.evaluate()
    notices.send()


class ServerDown(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        assert not connection.in_atomic_block or len(connection.savepoint_ids) <= 1, "a mail inside a transaction"
        raise ConnectionRefusedError(111, "Connection refused")


def test_each_change_is_told_once(agent: Agent, clock: Clock, outbox: list[Any]) -> None:
    agent.check_in(health="degraded")
    for _ in range(3):
        evaluate()
    (mail,) = outbox
    assert mail.to == ["mari@core.test"]
    assert mail.subject.startswith("[DMR] bot-tallinn of Ministry")
    assert "NEW" in mail.body
    assert "is degraded, says its agent" in mail.body
    assert f"{settings.PUBLIC_URL}/admin/observability/alert/" in mail.body
    agent.check_in(health="ok")
    evaluate()
    assert "RECOVERED" in outbox[1].body
    assert AlertChange.objects.filter(notified_at=None).count() == 0


def test_what_happens_together_is_told_in_one_mail(
    new_agent: Callable[..., Agent], clock: Clock, outbox: list[Any]
) -> None:
    for _ in range(notices.MOST_LINES + 5):
        new_agent().check_in(health="down")
    evaluate()
    (mail,) = outbox
    assert mail.subject == f"[DMR] {notices.MOST_LINES + 5} new"
    assert "… and 5 more." in mail.body


def test_only_active_staff_with_an_address_are_told(
    agent: Agent, outbox: list[Any], django_user_model: Any, settings: Any
) -> None:
    users = django_user_model.objects
    users.create_user("left", email="left@core.test", is_staff=True, is_active=False)
    users.create_user("guest", email="guest@core.test")
    users.create_user("mute", is_staff=True)
    settings.MANAGERS = [("Desk", "desk@core.test"), ("Mari", "mari@core.test")]
    assert notices.recipients() == {"en": ["desk@core.test", "mari@core.test"]}


def test_everybody_is_told_in_the_language_that_they_chose(
    agent: Agent, clock: Clock, outbox: list[Any], django_user_model: Any, settings: Any
) -> None:
    jaan = django_user_model.objects.create_superuser("jaan", "jaan@core.test", "xx")
    settings.MANAGERS = [("Desk", "desk@core.test")]
    people.browser(jaan).post("/admin/language/", {"language": "et"})
    agent.check_in(health="degraded")
    evaluate()
    english, estonian = outbox
    assert (english.to, estonian.to) == (["desk@core.test", "mari@core.test"], ["jaan@core.test"])
    assert "NEW" in english.body
    assert "is degraded, says its agent" in english.body
    assert estonian.subject.startswith("[DMR] bot-tallinn (Ministry")
    assert "UUS" in estonian.body
    assert "agendi sõnul häiritud" in estonian.body
    assert "Kõik häired: " in estonian.body


def test_who_chose_none_is_told_in_the_language_of_staff(agent: Agent, outbox: list[Any], settings: Any) -> None:
    settings.STAFF_LANGUAGE = "et"
    assert notices.recipients() == {"et": ["mari@core.test"]}


def test_where_nobody_can_be_told_nothing_piles_up(agent: Agent, clock: Clock, mailoutbox: list[Any]) -> None:
    agent.check_in(health="down")
    evaluate()
    assert not mailoutbox
    assert AlertChange.objects.filter(notified_at=None).count() == 0


def test_while_the_mail_server_is_down_it_is_tried_again(
    agent: Agent, clock: Clock, outbox: list[Any], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    works = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = f"{__name__}.ServerDown"
    agent.check_in(health="down")
    for _ in range(3):
        evaluate()
    assert not outbox
    assert [record.message for record in caplog.records].count("alert_mail_failed") == 3
    assert AlertChange.objects.get().notified_at is None
    settings.EMAIL_BACKEND = works
    evaluate()
    evaluate()
    assert len(outbox) == 1


def test_two_mailers_do_not_tell_it_twice(
    agent: Agent, clock: Clock, outbox: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.check_in(health="down")
    alerts.evaluate()
    send, others = notices.EmailMessage.send, []

    def send_while_another_looks(mail: Any, *args: Any) -> int:
        others.append(notices.send())
        return int(send(mail, *args))

    monkeypatch.setattr(notices.EmailMessage, "send", send_while_another_looks)
    assert notices.send() == 1
    assert others == [0]
    assert len(outbox) == 1


def test_what_a_dead_mailer_held_is_told_after_its_lease(agent: Agent, clock: Clock, outbox: list[Any]) -> None:
    agent.check_in(health="down")
    alerts.evaluate()
    AlertChange.objects.update(lease_until=timezone.now() + notices.LEASE)
    assert notices.send() == 0
    clock.pass_(seconds=(notices.LEASE + timedelta(seconds=1)).total_seconds())
    assert notices.send() == 1
