"""What was announced, and how far that has come, in Django admin."""

from __future__ import annotations

import json

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from participants.admin.look import AMBER, GREEN, ReadOnlyAdmin, badge
from participants.models import Announcement


@admin.register(Announcement)
class AnnouncementAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "kind", "state", "told", "created_at", "sent_at", "expires_at")
    list_filter = ("kind", "created_at")
    search_fields = ("about",)
    fields = ("public_id", "kind", "about", "state", "told", "created_at", "sent_at", "expires_at", "said")
    readonly_fields = ("public_id", "state", "said")
    show_full_result_count = False

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: Announcement) -> SafeString:
        return badge(_("Sent"), GREEN) if row.sent_at else badge(_("On its way"), AMBER)

    @admin.display(description=gettext_lazy("what is said"))
    def said(self, row: Announcement) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(row.body, ensure_ascii=False, indent=2))
