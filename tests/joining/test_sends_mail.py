"""The outbox: a mail server that is down loses no mail and holds nothing up."""

from __future__ import annotations

import mailbox
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from smtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from dmr_project import checks as our_checks
from dmr_project import server
from participants import mail
from participants.mail import is_final, pause
from participants.models import Mail
from tests.integration.product import wait_until
from tests.servers import free_port
from tests.staff import people

pytestmark = pytest.mark.django_db

SMTP = "django.core.mail.backends.smtp.EmailBackend"
GONE = SMTPRecipientsRefused({"a@x.test": (550, b"No such user")})
LATER = SMTPRecipientsRefused({"a@x.test": (451, b"Greylisted")})


class Failing(BaseEmailBackend):
    """A mail server that answers as a test says."""

    error: Exception | None = ConnectionRefusedError(111, "Connection refused")
    tried = 0

    def send_messages(self, email_messages: Any) -> int:
        assert not connection.in_atomic_block or len(connection.savepoint_ids) <= 1, "a mail inside a transaction"
        type(self).tried += 1
        if self.error is not None:
            raise self.error
        return len(email_messages)


@pytest.fixture
def failing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    settings.EMAIL_BACKEND = f"{__name__}.Failing"
    monkeypatch.setattr(Failing, "tried", 0)
    return Failing


@pytest.fixture
def smtp(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A mail server in a process of its own: its port, and the folder of what it took."""
    port, folder = free_port(), tmp_path / "mails"
    command = [sys.executable, "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}"]
    server = subprocess.Popen([*command, "-c", "aiosmtpd.handlers.Mailbox", str(folder)])
    try:
        wait_until(lambda: is_open(port), 20, "the mail server listens")
        yield port, folder
    finally:
        server.terminate()
        server.wait(10)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def due_again() -> None:
    Mail.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def test_a_real_server_takes_it_once_it_is_there(smtp: tuple[int, Path], settings: Any) -> None:
    port, folder = smtp
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = SMTP, "127.0.0.1"
    settings.DEFAULT_FROM_EMAIL = "Bürokratt <dmr@core.test>"
    settings.EMAIL_PORT = free_port()  # nobody listens there
    mail.post("mari@amet.test", "Teie taotlus: õäöü", "Tere!\n\nÕige link: https://x.test/join/y/\n")
    mail.post("tonu@amet.test", "Second", "Text\n")
    began = time.monotonic()
    assert mail.send() == 0
    assert time.monotonic() - began < 5
    first = Mail.objects.get(to="mari@amet.test")
    assert (first.state, first.attempts) == ("waiting", 1)
    assert "refused" in first.last_error
    assert Mail.objects.get(to="tonu@amet.test").attempts == 0, "the others wait untried"
    settings.EMAIL_PORT = port
    assert mail.send() == 1, "the one that was tried has its pause"
    due_again()
    assert mail.send() == 1
    assert mail.send() == 0
    taken = {each["To"]: each for each in mailbox.Maildir(folder)}
    assert taken.keys() == {"mari@amet.test", "tonu@amet.test"}
    body = taken["mari@amet.test"].get_payload(decode=True)
    assert isinstance(body, bytes)
    assert "Õige link: https://x.test/join/y/" in body.decode()
    assert set(Mail.objects.values_list("state", "sealed_text")) == {("sent", "")}


def test_it_goes_with_its_transaction(failing: type[Failing]) -> None:
    def fail() -> None:
        with transaction.atomic():
            mail.post("a@x.test", "Subject", "Text")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not Mail.objects.exists()


def test_pauses_grow_and_end_after_days(failing: type[Failing]) -> None:
    mail.post("a@x.test", "Subject", "Text")
    total = timedelta()
    for attempt in range(1, mail.MOST_ATTEMPTS + 1):
        assert mail.send() == 0
        assert failing.tried == attempt
        assert mail.send() == 0
        assert failing.tried == attempt, "not before its pause is over"
        row = Mail.objects.get()
        total += row.due_at - timezone.now()
        due_again()
    assert (row.state, row.attempts) == ("failed", mail.MOST_ATTEMPTS)
    assert timedelta(days=2.9) < total < timedelta(days=3.2)
    assert row.sealed_text, "so that staff can try again"
    assert mail.send() == 0
    assert failing.tried == mail.MOST_ATTEMPTS


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (50, 3600), (5000, 3600)]
)
def test_pause(attempts: int, seconds: int) -> None:
    assert pause(attempts) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (GONE, True),
        (LATER, False),
        (SMTPDataError(554, b"No"), True),
        (SMTPDataError(452, b"Full"), False),
        (SMTPException("odd"), False),
        (TimeoutError(), False),
        (ValueError("bad header"), True),
    ],
)
def test_what_is_final(error: Exception, final: bool) -> None:
    assert is_final(error) is final


def test_a_mail_that_is_refused_costs_the_others_nothing(
    failing: type[Failing], monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("a@x.test", "b@x.test"):
        mail.post(address, "Subject", "Text")
    monkeypatch.setattr(failing, "error", GONE)
    mail.send()
    assert failing.tried == 2
    assert set(Mail.objects.values_list("state", "last_error")) == {("failed", "550 No such user")}
    monkeypatch.setattr(failing, "error", None)
    registrar = people.browser(people.person("registrar"))
    ids = list(Mail.objects.values_list("pk", flat=True))
    url = reverse("admin:participants_mail_changelist")
    answer = people.chosen(registrar, url, "try_again", ids)
    assert "2 will be tried again" in answer.content.decode()
    assert mail.send() == 2


def test_a_mailer_at_work_is_left_alone(failing: type[Failing], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failing, "error", None)
    mail.post("a@x.test", "Subject", "Text")
    Mail.objects.update(lease_until=timezone.now() + timedelta(seconds=30))
    mail.post("b@x.test", "Subject", "Text")
    assert mail.send() == 0
    Mail.objects.filter(to="a@x.test").update(lease_until=timezone.now() - timedelta(seconds=1))
    assert mail.send() == 2


def test_without_a_mail_server_they_wait(
    settings: Any, failing: type[Failing], capsys: pytest.CaptureFixture[str]
) -> None:
    settings.EMAIL_IS_SET = False
    mail.post("a@x.test", "Subject", "Text")
    assert mail.send() == 0
    assert (failing.tried, Mail.objects.get().state) == (0, "waiting")
    settings.IS_PRODUCTION = True
    server.say_what_waits()
    assert "DMR_EMAIL_URL" in capsys.readouterr().err
    settings.EMAIL_IS_SET = True
    server.say_what_waits()
    assert capsys.readouterr().err == ""


def test_a_password_in_the_clear_is_warned_of(settings: Any) -> None:
    settings.IS_PRODUCTION = True
    assert "dmr.W003" not in ids_of(our_checks.check_production())
    settings.EMAIL_HOST_USER, settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = "dmr", False, False
    assert "dmr.W003" in ids_of(our_checks.check_production())


def ids_of(found: list[checks.CheckMessage]) -> set[str | None]:
    return {each.id for each in found}


def test_what_cannot_be_read_any_more_is_given_up(settings: Any, failing: type[Failing]) -> None:
    mail.post("a@x.test", "Subject", "Text")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another" * 10, []
    assert mail.send() == 0
    row = Mail.objects.get()
    assert (row.state, failing.tried) == ("failed", 0)
    assert row.last_error.startswith("CannotUnseal")


def test_no_page_shows_what_a_mail_says(admin_user: User) -> None:
    row = mail.post("a@x.test", "Subject", "https://x.test/join/claim/secret/")
    client = people.browser(admin_user)
    for url in (
        reverse("admin:participants_mail_changelist"),
        reverse("admin:participants_mail_change", args=[row.pk]),
    ):
        page = client.get(url).content.decode()
        assert "a@x.test" in page
        assert row.sealed_text not in page
        assert "secret" not in page


def test_it_is_forgotten_in_time(failing: type[Failing], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failing, "error", None)
    mail.post("a@x.test", "Subject", "Text")
    mail.send()
    mail.post("b@x.test", "Subject", "Text")
    assert mail.forget() == 0
    Mail.objects.filter(state="sent").update(ended_at=timezone.now() - mail.KEPT - timedelta(seconds=1))
    assert mail.forget() == 1
    assert Mail.objects.get().to == "b@x.test"
