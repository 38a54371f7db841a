"""Filters that lists of several kinds share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

DAYS = ("7", "30")
OVER = "over"


class ExpiresFilter(admin.SimpleListFilter):
    """What expires soon, and what has expired."""

    title = _("expires")
    parameter_name = "expires"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("7", _("Within 7 days")), ("30", _("Within 30 days")), (OVER, _("Expired"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value, now = self.value(), timezone.now()
        if value == OVER:
            return queryset.filter(expires_at__lte=now)
        if value not in DAYS:
            return queryset
        return self.soon(queryset, timedelta(days=int(value)))

    def soon(self, rows: Any, within: timedelta) -> QuerySet[Any]:
        """Whatever has expired already is in it too: it needs the same."""
        found: QuerySet[Any] = rows.filter(expires_at__lte=timezone.now() + within)
        return found


class KeyExpiresFilter(ExpiresFilter):
    def soon(self, rows: Any, within: timedelta) -> QuerySet[Any]:
        found: QuerySet[Any] = rows.expiring(timezone.now(), within)
        return found
