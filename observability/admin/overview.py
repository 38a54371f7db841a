"""The overview of one participant: what every app knows of it, on one screen, each part for who may see it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from observability import overview
from observability.admin.look import COLOURS as HEALTH_COLOURS
from participants.admin import badge
from participants.admin.look import AMBER, BLUE, GREEN, GREY, RED
from participants.admin.look import COLOURS as STATUS_COLOURS
from participants.admin.outages import COLOURS as OUTAGE_COLOURS
from participants.models import ApiKey, Participant
from relay import outlook_admin
from relay.models import Breaker, Delivery, State

DELIVERY_COLOURS = {
    State.PENDING: AMBER, State.DELIVERING: BLUE, State.DELIVERED: GREEN, State.EXPIRED: RED, State.DEAD: RED,
}  # fmt: skip
BREAKER_COLOURS = {Breaker.State.CLOSED: GREEN, Breaker.State.OPEN: RED, Breaker.State.PARKED: RED}


def view(request: HttpRequest, pk: int) -> HttpResponse:
    if not request.user.has_perm("participants.view_participant"):
        raise PermissionDenied
    row = overview.participants().filter(pk=pk).first()
    if row is None:
        raise Http404
    context = {
        **admin.site.each_context(request),
        "title": str(row),
        "opts": Participant._meta,
        "original": row,
        "status": badge(row.get_status_display(), STATUS_COLOURS.get(row.status, GREY)),
        **registry(request, row),
        **messages(request, row),
        **stack(request, row),
    }
    return TemplateResponse(request, "admin/observability/overview.html", context)


def registry(request: HttpRequest, row: Participant) -> dict[str, Any]:
    terms = getattr(row, "terms", None)
    found: dict[str, Any] = {
        "rooms": overview.rooms_of(row),
        "terms": terms if terms is not None and terms.is_set else None,
    }
    if request.user.has_perm("participants.view_outage"):
        now = timezone.now()
        found["outages"] = [
            (each, badge(str(each.state(now).label), OUTAGE_COLOURS[each.state(now)]))
            for each in overview.outages_of(row, now)
        ]
    if request.user.has_perm("participants.view_apikey"):
        found["keys"] = [(key, key_badge(key)) for key in overview.keys_of(row)]
    return found


def messages(request: HttpRequest, row: Participant) -> dict[str, Any]:
    if not request.user.has_perm("relay.view_delivery"):
        return {}
    breaker: Breaker | None = getattr(row, "breaker", None)
    stored = getattr(row, "stored_bytes", None)
    return {
        "day": overview.day_of(row, timezone.now()),
        "backlog": overview.backlog_of(row),
        "dead_letters": overview.dead_letters_to(row),
        "breaker": breaker,
        "breaker_state": badge(breaker.get_state_display(), BREAKER_COLOURS[Breaker.State(breaker.state)])
        if breaker is not None
        else badge(_("Closed"), GREEN),
        "may_close": request.user.has_perm("relay.view_breaker"),
        "stored": filesizeformat(max(0, stored.size)) if stored is not None else "–",
        "to_it": deliveries(overview.deliveries_to(row)),
        "from_it": deliveries(overview.deliveries_from(row)),
        "most_counted": overview.MOST_COUNTED,
    }


def stack(request: HttpRequest, row: Participant) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if request.user.has_perm("observability.view_instance"):
        signs = getattr(row, "vital_signs", None)
        if signs is not None:
            state = signs.state(timezone.now())
            found["health"] = badge(state.label, HEALTH_COLOURS[state])
        found["signs"] = signs
        found["components"] = [
            (each, badge(each.get_health_display(), HEALTH_COLOURS[each.health]))
            for each in overview.components_of(row)
        ]
    if request.user.has_perm("observability.view_alert"):
        found["alerts"] = overview.alerts_of(row)
    if request.user.has_perm("updates.view_target"):
        found["targets"] = overview.targets_of(row)
    return found


def key_badge(key: ApiKey) -> SafeString:
    if key.revoked_at:
        return badge(_("Revoked"), GREY)
    return badge(_("Valid"), GREEN) if key.is_valid else badge(_("Expired"), AMBER)


def deliveries(rows: list[Delivery]) -> list[tuple[Delivery, SafeString, SafeString | str]]:
    """Each with its state, and with what it waits for."""
    outlook_admin.look_ahead(rows)
    return [(row, delivery_badge(row), outlook_admin.column(row)) for row in rows]


def delivery_badge(row: Delivery) -> SafeString:
    return badge(row.get_state_display(), DELIVERY_COLOURS[State(row.state)])
