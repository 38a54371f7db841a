"""Mails to staff about alerts: each change is told once, several at a time in one mail.

What could not be sent is tried again at the next evaluation. A mailer that dies between sending and writing that
down tells it twice, after its lease.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from smtplib import SMTPException

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from dmr_project.lib.log import event
from observability import metrics
from observability.models import AlertChange

logger = logging.getLogger(__name__)

LEASE = timedelta(minutes=1)
MOST_LINES = 100  # of one mail; when half the network is gone, the rest is in the admin
MOST_IN_SUBJECT = 80  # characters


def send() -> int:
    """Sends what nobody was told yet. Returns how many changes were told. Call it outside a transaction."""
    held = _take()
    if not held:
        return 0
    ids = [change.pk for change in held]
    addresses = recipients()
    if not addresses:
        event(logger, "alert_mail_has_no_recipient", logging.WARNING, changes=len(held))
        metrics.ALERT_MAILS.labels(result="nobody").inc()
        AlertChange.objects.filter(pk__in=ids).update(notified_at=timezone.now(), lease_until=None)
        return 0
    try:
        EmailMessage(subject(held), text(held), to=addresses).send()
    except (OSError, SMTPException) as error:
        AlertChange.objects.filter(pk__in=ids).update(lease_until=None)
        metrics.ALERT_MAILS.labels(result="failed").inc()
        event(logger, "alert_mail_failed", logging.ERROR, changes=len(held), error=type(error).__name__)
        return 0
    AlertChange.objects.filter(pk__in=ids).update(notified_at=timezone.now(), lease_until=None)
    metrics.ALERT_MAILS.labels(result="sent").inc()
    event(logger, "alert_mail_sent", changes=len(held), recipients=len(addresses))
    return len(held)


def recipients() -> list[str]:
    """Active staff with an e-mail address, and settings.MANAGERS."""
    staff = get_user_model().objects.filter(is_active=True, is_staff=True).exclude(email="")
    managers = [address for _, address in settings.MANAGERS]
    return list(dict.fromkeys([*staff.order_by("pk").values_list("email", flat=True), *managers]))


def subject(changes: Sequence[AlertChange]) -> str:
    """`[DMR] 2 new, 1 recovered`, or for a single one what it is about."""
    counts = Counter(AlertChange.Step(change.step).label.lower() for change in changes)
    said = ", ".join(f"{count} {label}" for label, count in counts.items())
    if len(changes) == 1:
        said = changes[0].message
        said = said if len(said) <= MOST_IN_SUBJECT else f"{said[:MOST_IN_SUBJECT].rsplit(' ', 1)[0]} ..."
    return f"[DMR] {said}"


def text(changes: Sequence[AlertChange]) -> str:
    lines = [f"{AlertChange.Step(change.step).label.upper():9} {change.message}" for change in changes[:MOST_LINES]]
    if len(changes) > MOST_LINES:
        lines.append(f"… and {len(changes) - MOST_LINES} more.")
    return "\n".join([*lines, "", f"All alerts: {settings.PUBLIC_URL}/admin/observability/alert/"])


def _take() -> list[AlertChange]:
    """What is to be told, held by us alone for the time of the lease."""
    now = timezone.now()
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    with transaction.atomic():
        rows = AlertChange.objects.filter(free, notified_at=None).select_for_update().order_by("id")
        held = list(rows)
        AlertChange.objects.filter(pk__in=[row.pk for row in held]).update(lease_until=now + LEASE)
    return held
