"""Mails to staff about alerts: each change is told once, several at a time in one mail.

Each mail is in the language that its reader chose in the admin, else in DMR_STAFF_LANGUAGE. What could not be sent is
tried again at the next evaluation. A mailer that dies between sending and writing that down, or whose server fails
between the mails of two languages, tells it twice.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from smtplib import SMTPException

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Coalesce
from django.utils import timezone, translation
from django.utils.translation import gettext

from dmr_project.lib.log import event
from dmr_project.lib.sentences import shown
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
        for language, to in addresses.items():
            with translation.override(language):
                EmailMessage(subject(held), text(held), to=to).send()
    except (OSError, SMTPException) as error:
        AlertChange.objects.filter(pk__in=ids).update(lease_until=None)
        metrics.ALERT_MAILS.labels(result="failed").inc()
        event(logger, "alert_mail_failed", logging.ERROR, changes=len(held), error=type(error).__name__)
        return 0
    AlertChange.objects.filter(pk__in=ids).update(notified_at=timezone.now(), lease_until=None)
    metrics.ALERT_MAILS.labels(result="sent").inc()
    event(logger, "alert_mail_sent", changes=len(held), recipients=sum(map(len, addresses.values())))
    return len(held)


def recipients() -> dict[str, list[str]]:
    """Active staff with an e-mail address, and settings.MANAGERS, by language; each address once."""
    staff = get_user_model().objects.filter(is_active=True, is_staff=True).exclude(email="")
    known = dict.fromkeys((address for _, address in settings.MANAGERS), "")
    known |= dict(staff.order_by("-pk").values_list("email", Coalesce("account__language", Value(""))))
    found: dict[str, list[str]] = defaultdict(list)
    for address, language in sorted(known.items()):
        found[language or settings.STAFF_LANGUAGE].append(address)
    return found


def subject(changes: Sequence[AlertChange]) -> str:
    """`[DMR] 2 new, 1 recovered`, or for a single one what it is about."""
    counts = Counter(str(AlertChange.Step(change.step).label).lower() for change in changes)
    said = ", ".join(f"{count} {label}" for label, count in counts.items())
    if len(changes) == 1:
        said = shown(changes[0].message)
        said = said if len(said) <= MOST_IN_SUBJECT else f"{said[:MOST_IN_SUBJECT].rsplit(' ', 1)[0]} ..."
    return f"[DMR] {said}"


def text(changes: Sequence[AlertChange]) -> str:
    lines = [
        f"{str(AlertChange.Step(change.step).label).upper():9} {shown(change.message)}"
        for change in changes[:MOST_LINES]
    ]
    if len(changes) > MOST_LINES:
        lines.append(gettext("… and %(count)s more.") % {"count": len(changes) - MOST_LINES})
    all_alerts = gettext("All alerts: %(url)s") % {"url": f"{settings.PUBLIC_URL}/admin/observability/alert/"}
    return "\n".join([*lines, "", all_alerts])


def _take() -> list[AlertChange]:
    """What is to be told, held by us alone for the time of the lease."""
    now = timezone.now()
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    with transaction.atomic():
        rows = AlertChange.objects.filter(free, notified_at=None).select_for_update().order_by("id")
        held = list(rows)
        AlertChange.objects.filter(pk__in=[row.pk for row in held]).update(lease_until=now + LEASE)
    return held
