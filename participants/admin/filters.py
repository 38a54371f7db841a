"""Filters that lists of several kinds may share."""

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
    """What expires soon or has expired, which needs the same; and the latter alone."""

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
        return queryset.filter(expires_at__lte=now + timedelta(days=int(value)))
