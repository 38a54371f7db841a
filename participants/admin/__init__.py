"""The registry, who joins it, and the audit log in Django admin."""

from django.contrib import admin

from participants.admin import announcements, audit, joining, outages, registry, terms
from participants.admin.look import CappedPaginator, ReadOnlyAdmin, actor, badge

admin.site.site_header = "DMR · Distributed Message Rooms"
admin.site.site_title = "DMR"
admin.site.index_title = "Bürokratt's network"

__all__ = [
    "CappedPaginator",
    "ReadOnlyAdmin",
    "actor",
    "announcements",
    "audit",
    "badge",
    "joining",
    "outages",
    "registry",
    "terms",
]
