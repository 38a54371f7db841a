"""Actions of a list that are offered on the page of a row too, where they would change it.

They lead to the same page as from the list, which first shows what they would do.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse

from participants.admin.look import ModelAdmin


class ActsOnPage(ModelAdmin):
    """`acts_on` says which of the admin's actions would change a row, and `found_by` what leads to it in the list."""

    change_form_template = "admin/participants/acts.html"

    def acts_on(self, row: Any) -> tuple[str, ...]:
        raise NotImplementedError

    def found_by(self, row: Any) -> str:
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        row = self.get_object(request, unquote(object_id))
        if row is not None and self.has_view_permission(request, row):
            offered: dict[str, Any] = dict(self.get_actions(request))
            context["acts"] = [(name, offered[name][2]) for name in self.acts_on(row) if name in offered]
            context["found_by"] = self.found_by(row)
        return super().change_view(request, object_id, form_url, context)
