"""Filters that lists of several kinds may share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

DAYS = ("7", "30")
OVER = "over"
MOST_LISTED = 30  # choices of a filter


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


class NamedFilter(admin.RelatedFieldListFilter):
    """By the row that a foreign key leads to: a choice of all, or, where they are many, a field for its name.

    Thousands of choices would cost more than the list beneath, and nobody finds theirs among them.
    `?institution__id__exact=5` chooses one, as links do; `?institution_named=tax` those whose name has that in it.
    """

    template = "admin/named_filter.html"

    def __init__(self, field: Any, request: HttpRequest, params: Any, *args: Any, **kwargs: Any) -> None:
        self.other: Any = field.remote_field.model
        self.name = getattr(self.other, "USERNAME_FIELD", "name")
        self.typed_kwarg = f"{field.name}_named"
        self.typed = "".join(params.pop(self.typed_kwarg, [])[-1:]).strip()[:100]
        self.is_typed = False  # field_choices() finds out
        key = f"{kwargs.get('field_path') or args[-1]}__{field.target_field.name}__exact"
        if key in params and not all(each.isdecimal() and len(each) < 19 for each in params[key]):
            del params[key]  # no key of ours: an address that somebody typed
        super().__init__(field, request, params, *args, **kwargs)

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        manager = self.other._default_manager
        rows = manager.present() if hasattr(manager, "present") else manager.all()
        rows = rows.order_by(self.name).values_list("pk", self.name)
        found = list(rows[: MOST_LISTED + 1])
        if len(found) <= MOST_LISTED:
            return found
        self.is_typed = True
        return list(rows.filter(pk__in=list(self.lookup_val or ())[:MOST_LISTED]))

    def has_output(self) -> bool:
        return self.is_typed or bool(self.typed) or super().has_output()

    def expected_parameters(self) -> list[str | None]:
        return [*super().expected_parameters(), self.typed_kwarg]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = super().queryset(request, queryset)
        rows = queryset if chosen is None else chosen
        if not self.typed:
            return rows
        return rows.filter(Q(**{f"{self.field_path}__{self.name}__icontains": self.typed}))

    def choices(self, changelist: Any) -> Iterator[Any]:
        own = [self.lookup_kwarg, self.lookup_kwarg_isnull, self.typed_kwarg]
        chosen = {str(each) for each in self.lookup_val or ()}
        is_empty = bool(self.lookup_val_isnull)

        def choice(display: Any, is_chosen: bool, said: dict[str, Any]) -> dict[str, Any]:
            query = changelist.get_query_string(said, own)
            return {"display": display, "selected": is_chosen, "query_string": query}

        yield choice(_("All"), not (chosen or is_empty or self.typed), {})
        for key, name in self.lookup_choices:
            yield choice(name, str(key) in chosen, {self.lookup_kwarg: key})
        if self.include_empty_choice:
            yield choice(self.empty_value_display, is_empty, {self.lookup_kwarg_isnull: "True"})
        if self.typed:
            said = gettext("with “%(text)s”") % {"text": self.typed}
            yield choice(said, True, {self.typed_kwarg: self.typed})

    @property
    def others(self) -> list[tuple[str, str]]:
        """What else the address asks for, which the form keeps."""
        own = {*self.expected_parameters(), PAGE_VAR}
        return [(name, each) for name, found in self.request.GET.lists() if name not in own for each in found]
