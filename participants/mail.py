"""The outbox: mails are written in the transaction of what they tell of, and sent after it, when that is possible.

A mail server that is down loses none and holds nothing up: what could not be sent is tried again with growing pauses
for three days, and then shown to staff, who can try again. One mailer works at a time. One that dies between sending
and writing that down sends a mail twice, after its lease.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from smtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.utils import timezone

from dmr_project.lib import sealing
from dmr_project.lib.log import event
from participants import history, metrics
from participants.models import Mail

logger = logging.getLogger(__name__)

State = Mail.State

BATCH = 50
AT_ONCE = 500  # written by one statement
LEASE = timedelta(minutes=1)
TURN_SECONDS = 20.0  # a turn begins no further mail after that
FIRST_PAUSE, LONGEST_PAUSE = 30, 3600  # seconds
MOST_ATTEMPTS = 78  # about three days
KEPT = timedelta(days=90)  # that staff see whom a mail went to


@dataclass(frozen=True)
class Written:
    to: str
    subject: str
    text: str


def post(to: str, subject: str, text: str) -> Mail:
    """Writes a mail, to be sent once the transaction is there."""
    return post_all([Written(to, subject, text)])[0]


def post_all(mails: Iterable[Written]) -> list[Mail]:
    """The same for many, in few statements."""
    rows = [
        Mail(
            to=each.to,
            subject=" ".join(each.subject.split())[:200],
            sealed_text=sealing.seal(each.text.encode(), _context(each.to)),
        )
        for each in mails
    ]
    return Mail.objects.bulk_create(rows, batch_size=AT_ONCE)


def send() -> int:
    """Sends what is due. Returns how many mails have left. Call it outside a transaction."""
    if not settings.EMAIL_IS_SET:
        return 0
    held = _take()
    if not held:
        return 0
    connection = get_connection(fail_silently=False)
    until, sent = time.monotonic() + TURN_SECONDS, 0
    try:
        for position, mail in enumerate(held):
            if time.monotonic() > until:
                _release(held[position:])
                break
            try:
                message = EmailMessage(mail.subject, _text(mail), to=[mail.to], connection=connection)
                if connection.send_messages([message]) != 1:
                    raise SMTPException("no address that mail can be sent to")
            except (SMTPRecipientsRefused, SMTPDataError, sealing.CannotUnseal, ValueError) as error:
                _put_back(mail, error, is_final=is_final(error))
            except (OSError, SMTPException) as error:
                # The server and not this mail, as far as can be told: the others wait for the next turn.
                _put_back(mail, error, is_final=False)
                _release(held[position + 1 :])
                break
            else:
                _settle(mail)
                sent += 1
    finally:
        _hang_up(connection)
    return sent


def is_final(error: Exception) -> bool:
    """Is there no use in trying again? A 5xx of the mail server about this mail, or a mail that cannot be written."""
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    if isinstance(error, SMTPDataError):
        return error.smtp_code >= 500
    return not isinstance(error, (OSError, SMTPException))


def pause(attempts: int) -> timedelta:
    """After so many attempts that failed."""
    return timedelta(seconds=min(FIRST_PAUSE * 2 ** min(attempts - 1, 10), LONGEST_PAUSE))


def try_again(mail: Mail, *, actor: str) -> bool:
    """Makes a mail that waits or has failed due now. False where it was sent."""
    now = timezone.now()
    rows = Mail.objects.filter(pk=mail.pk, state__in=(State.WAITING, State.FAILED))
    with history.atomic():
        if not rows.update(state=State.WAITING, attempts=0, due_at=now, ended_at=None):
            return False
        history.note("try again", actor, kind="mail", subject=mail.subject, subject_id=str(mail.pk))
    return True


def forget() -> int:
    """Deletes what ended long ago. Returns how many."""
    return Mail.objects.filter(ended_at__lt=timezone.now() - KEPT).delete()[0]


def _take() -> list[Mail]:
    """What is due, held by us alone for the time of the lease; nothing while another mailer is at work."""
    now = timezone.now()
    with transaction.atomic():
        if Mail.objects.filter(state=State.WAITING, lease_until__gt=now).exists():
            return []
        due = Mail.objects.filter(state=State.WAITING, due_at__lte=now).order_by("due_at", "id")
        held = list(due.select_for_update()[:BATCH])
        Mail.objects.filter(pk__in=[mail.pk for mail in held]).update(lease_until=now + LEASE)
    return held


def _settle(mail: Mail) -> None:
    now = timezone.now()
    Mail.objects.filter(pk=mail.pk).update(
        state=State.SENT, sealed_text="", attempts=mail.attempts + 1, lease_until=None, ended_at=now, last_error=""
    )
    metrics.MAILS.labels(result="sent").inc()
    event(logger, "mail_sent", mail=mail.pk)


def _put_back(mail: Mail, error: Exception, *, is_final: bool) -> None:
    """To be tried again after a pause, or given up."""
    attempts = mail.attempts + 1
    is_final = is_final or attempts >= MOST_ATTEMPTS
    now = timezone.now()
    Mail.objects.filter(pk=mail.pk).update(
        state=State.FAILED if is_final else State.WAITING,
        attempts=attempts,
        due_at=now + pause(attempts),
        ended_at=now if is_final else None,
        lease_until=None,
        last_error=_said(error),
    )
    metrics.MAILS.labels(result="given up" if is_final else "failed").inc()
    event(logger, "mail_failed", logging.ERROR, mail=mail.pk, error=type(error).__name__, given_up=is_final)


def _release(mails: Sequence[Mail]) -> None:
    Mail.objects.filter(pk__in=[mail.pk for mail in mails]).update(lease_until=None)


def _said(error: Exception) -> str:
    """What the mail server said, for staff; the text of a mail is not in it."""
    if isinstance(error, SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
        return f"{code} {said.decode('utf-8', 'replace')}"[:200]
    return f"{type(error).__name__}: {error}"[:200]


def _text(mail: Mail) -> str:
    """Raises CannotUnseal."""
    return sealing.unseal(mail.sealed_text, _context(mail.to)).decode()


def _context(to: str) -> str:
    return f"mail to {to}"


def _hang_up(connection: Any) -> None:
    with suppress(OSError, SMTPException):  # what was sent is sent
        connection.close()
