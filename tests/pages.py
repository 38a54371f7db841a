"""Addresses of the admin, one of each type of page at least: for tests and benchmarks of what pages cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.urls import reverse

from participants.models import Participant
from updates.models import Rollout


def addresses(request: Any) -> Iterator[str]:
    """Of every admin its list, the pages of its first and its last row, and its history; after many.fill()."""
    yield reverse("admin:index")
    for each in admin.site._registry.values():
        name = f"admin:{each.opts.app_label}_{each.opts.model_name}"
        for query in ("", "?q=bot", "?p=2", "?o=1"):
            yield reverse(f"{name}_changelist") + query
        if each.has_add_permission(request):
            yield reverse(f"{name}_add")
        rows = each.get_queryset(request).order_by("pk")
        first, last = rows.first(), rows.last()
        assert first is not None, f"tests/many.py makes no {each.opts.label_lower}"
        assert last is not None
        for row in (first, last):
            yield reverse(f"{name}_change", args=[row.pk])
        yield reverse(f"{name}_history", args=[first.pk])
    bot = Participant.objects.get(name="bot-0")
    for page in (
        "participants_participant_life", "participants_participant_issue_key", "participants_participant_reach",
        "participants_endpointterms_of", "observability_instance_overview",
    ):  # fmt: skip
        yield reverse(f"admin:{page}", args=[bot.pk])
    yield reverse("admin:participants_outage_calendar")
    yield reverse("admin:participants_participant_import")
    yield reverse("admin:updates_rollout_change", args=[Rollout.objects.earliest("pk").pk]) + "?p=2"
    yield reverse("admin:relay_delivery_changelist") + "?dead=open&recipient=bot-0"
