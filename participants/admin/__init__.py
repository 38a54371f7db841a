"""The registry, who joins it, and the audit log in Django admin."""

from participants.admin import (
    announcements,
    api_keys,
    audit,
    institutions,
    joining,
    outages,
    participants,
    public_keys,
    rooms,
    signing_keys,
    terms,
)
from participants.admin.look import CappedPaginator, ModelAdmin, ReadOnlyAdmin, TabularInline, actor, badge

__all__ = [
    "CappedPaginator",
    "ModelAdmin",
    "ReadOnlyAdmin",
    "TabularInline",
    "actor",
    "announcements",
    "api_keys",
    "audit",
    "badge",
    "institutions",
    "joining",
    "outages",
    "participants",
    "public_keys",
    "rooms",
    "signing_keys",
    "terms",
]
