"""Export of participants in Django admin: of what the filters choose, and of what is selected."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache

from participants.admin.look import HistoryPages, actor
from participants.exchange import writing
from participants.models import Participant

EXPORT = "participants.export_participant"


class ExchangePages(HistoryPages):
    """For the participants' admin."""

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(EXPORT)

    def get_urls(self) -> list[URLPattern]:
        export = path(
            "export/<slug:form>/",
            self.admin_site.admin_view(never_cache(self.export)),
            name="participants_participant_export",
        )
        return [export, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"may_export": self.has_export_permission(request)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def export(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """What the filters of the list choose."""
        if not self.has_export_permission(request) or form not in writing.FORMATS:
            raise PermissionDenied
        chosen: Any = self.get_changelist_instance(request).get_queryset(request)
        asked = {name: str(value) for name, value in request.GET.items() if value}
        return download(request, chosen, form, asked)

    @admin.action(description=gettext_lazy("Export as CSV"), permissions=["export"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[Participant]) -> HttpResponseBase:
        return download(request, queryset, "csv", {"selected": "yes"})

    @admin.action(description=gettext_lazy("Export as JSON"), permissions=["export"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[Participant]) -> HttpResponseBase:
        return download(request, queryset, "json", {"selected": "yes"})


def download(
    request: HttpRequest, rows: QuerySet[Participant], form: str, asked: dict[str, str]
) -> StreamingHttpResponse:
    pieces = writing.export(rows, form, actor=actor(request), asked=asked)
    response = StreamingHttpResponse(pieces, content_type=writing.FORMATS[form])
    name = f"participants-{timezone.localtime():%Y-%m-%d}.{form}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response
