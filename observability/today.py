"""What needs attention today: each matter with a count, its age, and the list that shows it.

Every matter is one query, by an index or over a table of the registry's size, and counts no further than
MOST_COUNTED.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from observability.models import Alert, Instance
from observability.states import State
from participants.models import ApiKey, Application, EndpointTerms, Mail, Outage
from relay.models import Breaker, Delivery
from updates.models import Release, Rollout

MOST_COUNTED = 1_000
EXPIRES_SOON = timedelta(days=30)
OUTAGES_AHEAD = timedelta(days=7)

Now = datetime


@dataclass(frozen=True)
class Matter:
    """Something staff should look at while there is any of it.

    `rows` finds it. `since` names the column whose earliest value says for how long it has waited, or
    with `is_ahead` when the first will come. `page` and `query` lead to what shows the same rows.
    """

    name: str
    title: str | Promise
    what_to_do: str | Promise
    permission: str
    page: str
    query: str
    rows: Callable[[Now], QuerySet[Any]]
    since: str = ""
    is_urgent: bool = False
    is_ahead: bool = False


@dataclass(frozen=True)
class Found:
    """How much there is of a matter: `count` above MOST_COUNTED says "more"."""

    matter: Matter
    count: int
    earliest: datetime | None

    @property
    def is_more(self) -> bool:
        return self.count > MOST_COUNTED


def _silent(now: Now) -> QuerySet[Any]:
    return Instance.objects.fleet(now).filter(status="Active", state=State.SILENT.value)


def _certificates(now: Now) -> QuerySet[Any]:
    """Those that are over too."""
    return EndpointTerms.objects.filter(expires_at__lte=now + EXPIRES_SOON, participant__terms_version__gt=0)


MATTERS = (
    Matter(
        "alerts", _("Open alerts"),
        _("Instances that are silent or unwell, quotas that are nearly reached, and endpoints that are gone."),
        "observability.view_alert", "observability_alert_changelist", "open=yes",
        lambda now: Alert.objects.open(), since="since", is_urgent=True,
    ),
    Matter(
        "silent", _("Silent Instances"), _("Nothing was heard of their agents: ask them, or look from outside."),
        "observability.view_instance", "observability_instance_changelist", f"state={State.SILENT.value}",
        _silent, since="vital_signs__last_heard_at", is_urgent=True,
    ),
    Matter(
        "failing", _("Participants that cannot be reached"),
        _("Their breakers are open, or they said that they are gone."),
        "relay.view_breaker", "relay_breaker_changelist", "state__in=open,parked",
        lambda now: Breaker.objects.exclude(state=Breaker.State.CLOSED), since="opened_at", is_urgent=True,
    ),
    Matter(
        "dead-letters", _("Dead letters"), _("Will not be tried again by themselves: requeue them, or discard them."),
        "relay.view_delivery", "relay_delivery_changelist", "dead=open",
        lambda now: Delivery.objects.dead_letters(), since="ended_at",
    ),
    Matter(
        "unfetched", _("Messages that nobody fetches"),
        _("Their recipients are to fetch them, and have not for 10 minutes: tell their institutions."),
        "relay.view_delivery", "relay_delivery_changelist", "inbox=unfetched",
        lambda now: Delivery.objects.unfetched(now), since="due_at",
    ),
    Matter(
        "applications", _("Applications that wait"), _("Somebody else than who entered them decides."),
        "participants.view_application", "participants_application_changelist",
        f"state__in={','.join(Application.OPEN)}",
        lambda now: Application.objects.filter(state__in=Application.OPEN), since="received_at",
    ),
    Matter(
        "mail", _("Mails that could not be sent"), _("Look why, and try them again."),
        "participants.view_mail", "participants_mail_changelist", "state__exact=failed",
        lambda now: Mail.objects.filter(state=Mail.State.FAILED), since="created_at",
    ),
    Matter(
        "paused", _("Rollouts that are paused"), _("Something failed, or somebody paused them: resume or abort."),
        "updates.view_rollout", "updates_rollout_changelist", "state__exact=paused",
        lambda now: Rollout.objects.filter(state=Rollout.State.PAUSED), since="started_at", is_urgent=True,
    ),
    Matter(
        "releases", _("Releases that wait"),
        _("For approval by somebody else than their author, or to be published."),
        "updates.view_release", "updates_release_changelist", "state__in=draft,approved",
        lambda now: Release.objects.filter(state__in=("draft", "approved")), since="created_at",
    ),
    Matter(
        "keys", _("API keys that expire soon"), _("Their participants fetch new ones, or staff issue them."),
        "participants.view_apikey", "participants_apikey_changelist", "expires=30",
        lambda now: ApiKey.objects.expiring(now, EXPIRES_SOON), since="expires_at", is_ahead=True,
    ),
    Matter(
        "certificates", _("Certificates that expire soon"), _("Of endpoints and our own to them: set new ones."),
        "participants.view_endpointterms", "participants_endpointterms_changelist", "expires=30",
        _certificates,
        since="expires_at", is_ahead=True,
    ),
    Matter(
        "outages", _("Outages now"), _("What goes to the affected is held until they are over."),
        "participants.view_outage", "participants_outage_calendar", "",
        lambda now: Outage.objects.now(now), since="begins_at",
    ),
    Matter(
        "outages-next", _("Outages in the next days"), _("They are announced; nothing has to be done."),
        "participants.view_outage", "participants_outage_calendar", "",
        lambda now: Outage.objects.not_over(now).filter(begins_at__gt=now, begins_at__lte=now + OUTAGES_AHEAD),
        since="begins_at", is_ahead=True,
    ),
)  # fmt: skip


def matters(may: Callable[[str], bool], now: datetime | None = None) -> list[Found]:
    """All that `may` lets see, what is urgent first, then what there is any of."""
    now = now or timezone.now()
    found = [count(each, now) for each in MATTERS if may(each.permission)]
    return sorted(found, key=lambda each: (each.count == 0, not each.matter.is_urgent))


def count(matter: Matter, now: datetime) -> Found:
    rows = matter.rows(now).order_by(matter.since).values(matter.since)[: MOST_COUNTED + 1]
    numbers = rows.aggregate(count=Count("*"), earliest=Min(matter.since))
    return Found(matter, numbers["count"], numbers["earliest"])
