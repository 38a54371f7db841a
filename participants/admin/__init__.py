"""The registry, who joins it, and the audit log in Django admin."""

from participants.admin import announcements, audit, joining, outages, public_keys, registry, terms
from participants.admin.look import CappedPaginator, ModelAdmin, ReadOnlyAdmin, TabularInline, actor, badge

__all__ = [
    "CappedPaginator",
    "ModelAdmin",
    "ReadOnlyAdmin",
    "TabularInline",
    "actor",
    "announcements",
    "audit",
    "badge",
    "joining",
    "outages",
    "public_keys",
    "registry",
    "terms",
]
