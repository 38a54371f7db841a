"""Rooms in Django admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from participants import names, rooms
from participants.admin.memberships import MembershipInline, SavesMemberships
from participants.models import Room


@admin.register(Room)
class RoomAdmin(SavesMemberships):
    list_display = ("name", "member_count", "payload_limit", "time_to_live", "retention", "description")
    search_fields = ("name", "description")
    fields = ("name", "description", "payload_limit", "time_to_live", "retention")
    inlines = (MembershipInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Room]:
        return Room.objects.annotate(member_count=Count("memberships"))

    def get_inlines(self, request: HttpRequest, obj: Room | None) -> tuple[Any, ...]:
        # Everybody is in the national room, on registration: thousands of rows that nobody edits here.
        return () if obj is not None and obj.name == names.NATIONAL else self.inlines

    @admin.display(description=_("members"), ordering="member_count")
    def member_count(self, row: Any) -> int:
        return int(row.member_count)

    def has_delete_permission(self, request: HttpRequest, obj: Room | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.name == names.NATIONAL)

    def remove(self, obj: Room, *, actor: str, reason: str) -> None:
        rooms.close(obj, actor=actor, reason=reason)
