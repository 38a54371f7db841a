"""What the pages of every app share: the theme's classes, who acts, states in colour, read-only rows, and the history
of an object. Every admin is a ModelAdmin of this module, and its inlines are too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext as _

from dmr_project.lib import sentences
from participants import audit_words
from participants.admin.keys import AutocompleteSelect, ModelMultipleChoiceField, may_be_key
from participants.models import Change
from participants.querysets import ChangeQuerySet

if TYPE_CHECKING:  # the theme says nothing of its types: they are Django's
    from django.contrib.admin import ModelAdmin as ThemedAdmin
    from django.contrib.admin import TabularInline as ThemedInline
    from django.contrib.admin.widgets import AdminFileWidget as ThemedFile
    from django.forms import BaseInlineFormSet as ThemedFormSet
else:
    from unfold.admin import ModelAdmin as ThemedAdmin
    from unfold.admin import TabularInline as ThemedInline
    from unfold.forms import PaginationInlineFormSet as ThemedFormSet
    from unfold.widgets import UnfoldAdminFileFieldWidget as ThemedFile

MOST_COUNTED = 10_000
HISTORY_ROWS = 100
MOST_CHOSEN = 5_000  # rows that one action handles
MOST_SHOWN = 300  # characters of one value

# Of a badge: classes of staff/admin.css, which has each for light and for dark.
GREEN, AMBER, RED, GREY, BLUE, VIOLET = "green", "amber", "red", "grey", "blue", "violet"
COLOURS = {
    "Pending": AMBER, "Active": GREEN, "Suspended": RED, "Disabled": AMBER, "Revoked": GREY, "Deleted": GREY,
}  # fmt: skip


def actor(request: HttpRequest) -> str:
    return request.user.get_username()


def badge(text: str, colour: str) -> SafeString:
    """A state in words, with a colour beside it."""
    return format_html('<span class="dmr-badge dmr-{}">{}</span>', colour, text)


class FieldsOfKeys:
    """The fields of an admin's forms that take keys refuse what can be none."""

    def formfield_for_foreignkey(self: Any, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if "widget" not in kwargs and db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = AutocompleteSelect(db_field, self.admin_site, using=kwargs.get("using"))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_manytomany(self: Any, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("form_class", ModelMultipleChoiceField)
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]


class ModelAdmin(FieldsOfKeys, ThemedAdmin):
    """Django's, in the look of the theme."""

    list_fullwidth = True
    list_per_page = 50  # a row costs more to draw than to find
    compressed_fields = True
    most_chosen = MOST_CHOSEN

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Beside a field that names another row one may look at that or add one: it is changed on its own page."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        widget = getattr(field, "widget", None)
        if isinstance(widget, RelatedFieldWidgetWrapper):
            widget.can_change_related = widget.can_delete_related = False
        return field

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if from_field is None and not may_be_key(self.model, object_id):
            return None
        return super().get_object(request, object_id, from_field)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            return super().get_changelist_instance(request)
        except (OverflowError, DataError) as error:  # a number that no column can hold; Django takes away the filters
            raise IncorrectLookupParameters(error) from error

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        if not all(may_be_key(self.model, each) for each in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("What is chosen are no rows of this list.")
        return super().response_action(request, queryset)

    def too_many(self, limit: int) -> str:
        """What to tell whoever chose more rows than one request should handle."""
        return _("These are more than %(most)s: choose fewer, by the filters.") % {"most": limit}


class TabularInline(FieldsOfKeys, ThemedInline):
    """Django's, in the look of the theme."""


class InlineFormSet(ThemedFormSet):
    """Django's, a page at a time."""


class FileInput(ThemedFile):
    """Django's, in the look of the theme, whose script fails at any other."""


class CappedPaginator(Paginator):
    """Counts no further than MOST_COUNTED: counting millions of rows would cost more than any page."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return len(rows.order_by().values_list("pk")[:MOST_COUNTED])


def shown(value: Any) -> str:
    """A value of `before` or `after`, for people."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    text = str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def told(field: str, description: Any) -> Any:
    """A column of what a row keeps as a sentence, in the language of the page."""

    @admin.display(description=description, ordering=field)
    def column(self: Any, row: Any) -> str:
        return sentences.shown(getattr(row, field))

    return column


def differences(change: Change) -> list[tuple[str, str, str]]:
    """(field, before, after) for each field that an entry tells of; `–` for what was not, or is no more."""
    before, after = change.before, change.after
    names = list(dict.fromkeys((*before, *after)))

    def value(said: dict[str, Any], name: str) -> str:
        return shown(audit_words.value(change.kind, name, said.get(name)))

    return [(audit_words.field(change.kind, name), value(before, name), value(after, name)) for name in names]


def chosen_by_filters(admin: Any, request: HttpRequest) -> Any:
    """All rows that the list's address chooses, as for its page. Raises BadRequest where it asks for what is not."""
    try:
        return admin.get_changelist_instance(request).get_queryset(request)
    except IncorrectLookupParameters as error:
        raise BadRequest("The address asks for a filter that the list does not have.") from error


class HistoryPages(ModelAdmin):
    """The page *History* of an object is what the audit log says of it, the newest first.

    Whoever may see the object may see it; from where something was done is for those who may see the whole log.
    """

    def history_of(self, row: Any) -> ChangeQuerySet:
        """The entries about it; a subclass adds those about what belongs to it."""
        return Change.objects.about(row)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        rows = self.history_of(row).filter(number__isnull=False).order_by("-number")
        before = request.GET.get("before", "")
        if before.isdecimal() and len(before) < 19:
            rows = rows.filter(number__lt=int(before))
        found = list(rows[: HISTORY_ROWS + 1])
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("History: %(row)s") % {"row": row},
            "object": row,
            "entries": [(each, audit_words.action(each.action), differences(each)) for each in found[:HISTORY_ROWS]],
            "older": found[HISTORY_ROWS - 1].number if len(found) > HISTORY_ROWS else None,
            "opts": self.opts,
            "may_see_log": request.user.has_perm("participants.view_change"),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/participants/history.html", context)


class ReadOnlyAdmin(HistoryPages):
    """Rows that people look at and never write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
