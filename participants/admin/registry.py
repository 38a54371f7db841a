"""The registry in Django admin. Every change goes through registry.py and rooms.py, and so leaves a Change."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from dmr_project.lib.errors import DomainError
from participants import dependence, history, key_notices, names, registry, rooms
from participants.admin.bulk import Foreseen, PerhapsWhy, each, previewed
from participants.admin.exchange import ExchangePages
from participants.admin.filters import NamedFilter
from participants.admin.life import LifeSteps
from participants.admin.look import COLOURS, HistoryPages, ReadOnlyAdmin, TabularInline, actor, badge, told
from participants.admin.public_keys import PublicKeyInline
from participants.admin.reach import ReachPages
from participants.models import ApiKey, Change, Institution, Membership, Participant, Room
from participants.querysets import ChangeQuerySet
from participants.scopes import Scope
from participants.statuses import LIFE

PARTICIPANT_FIELDS = (
    "institution", "name", "type", "host", "delivery_mode", "success_statuses", "source_networks",
    "contact_name", "contact_email", "technical_name", "technical_email",
    "wants_receipts", "announcements", "messages_per_second", "messages_burst", "stored_bytes_limit",
)  # fmt: skip

MOST_DELETED = 200  # rows at a time
NEW_STATUSES = (Participant.Status.ACTIVE, Participant.Status.PENDING, Participant.Status.DISABLED)


MEMBERS_SHOWN = 50  # on one page of a room


class NamedForm(forms.ModelForm):
    """A form whose name must be free among what is not deleted."""

    reason = forms.CharField(max_length=500, required=False, label=_("Why"), help_text=_("Goes into the audit log."))

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        rows = self._meta.model._default_manager.filter(name=name).exclude(pk=self.instance.pk)
        if any(field.name == "deleted_at" for field in self._meta.model._meta.fields):
            rows = rows.filter(deleted_at=None)
        if rows.exists():
            raise forms.ValidationError(gettext("The name %(name)r is taken.") % {"name": name})
        return name


class Presets(forms.TextInput):
    """A text field that offers the usual values, and takes any."""

    template_name = "admin/participants/presets.html"

    def __init__(self, presets: Mapping[str, str | Promise]) -> None:
        super().__init__(attrs={"list": "presets", "class": "vTextField"})
        self.presets = presets

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return {**super().get_context(name, value, attrs), "presets": self.presets.items()}


class ParticipantForm(NamedForm):
    class Meta:
        model = Participant
        fields = (*PARTICIPANT_FIELDS, "status")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Later by the steps of its life (admin/life.py), each with its reason.
        choices = [each for each in Participant.Status.choices if each[0] in NEW_STATUSES]
        if "success_statuses" in self.fields:
            self.fields["success_statuses"].widget = Presets(names.SUCCESS_PRESETS)
        if "status" in self.fields:
            self.fields["status"] = forms.ChoiceField(
                choices=choices, initial=self.fields["status"].initial, label=_("Status")
            )


class IssueKeyForm(forms.Form):
    note = forms.CharField(
        label=_("Note"), max_length=100, required=False, help_text=_("What it is for, such as: rotation of May.")
    )
    days = forms.IntegerField(
        min_value=1, max_value=3650, required=False, label=_("Expires after (days)"), help_text=_("Empty: never.")
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("Only for"),
        help_text=_("None: for everything."),
    )


def why(request: HttpRequest) -> str:
    """What somebody wrote beside a form or an action."""
    return request.POST.get("reason", "")


def one_transaction(request: HttpRequest) -> AbstractContextManager[None]:
    """For a form: what it saves, beside one another, is told at the end of one transaction."""
    return history.atomic() if request.method == "POST" else nullcontext()


def deleted(admin: Any, request: HttpRequest, row: Any) -> Foreseen:
    """What forbids it is asked of each row, and costs a few queries: see MOST_DELETED."""
    if not admin.has_delete_permission(request, row):
        return Foreseen(left=gettext("cannot be deleted"))
    protected = admin.protected([row])
    return Foreseen(left="; ".join(protected)) if protected else Foreseen(gettext("there"), gettext("deleted"))


class RegistryAdmin(HistoryPages):
    """Saves through the registry, with the member of staff as the actor."""

    form = NamedForm
    actions: Any = ("delete_selected",)
    delete_confirmation_template = "admin/participants/delete_confirmation.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """And, for a change, why."""
        fields = super().get_fields(request, obj)
        return (*fields, "reason") if obj is not None and self.has_change_permission(request, obj) else fields

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with one_transaction(request):
            return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with one_transaction(request):
            return super().delete_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            registry.update(obj, actor=actor(request), reason=why(request))
        else:
            registry.add(obj, actor=actor(request))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        try:
            self.remove(obj, actor=actor(request), reason=why(request))
        except DomainError as error:
            self.message_user(request, error.detail, messages.ERROR)

    def remove(self, obj: Any, *, actor: str, reason: str) -> None:
        """Makes the domain call. Raises DomainError."""
        raise NotImplementedError

    @previewed(
        deleted,
        description=_("Delete"),
        permissions=["delete"],
        form=PerhapsWhy,
        done=_("%(count)s deleted; %(left)s are still there."),
        most=MOST_DELETED,
    )
    def delete_selected(self, request: HttpRequest, rows: list[Any], said: dict[str, Any]) -> int:
        who, allowed = actor(request), [row for row in rows if self.has_delete_permission(request, row)]
        return each(request, allowed, lambda row: self.remove(row, actor=who, reason=said["reason"]))

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Nothing else is deleted with it: what depends on it stays, or forbids the deletion."""
        return [str(obj) for obj in objs], {}, set(), self.protected(list(objs))

    def protected(self, objs: list[Any]) -> list[str]:
        """What forbids the deletion, in words."""
        return []


@admin.register(Institution)
class InstitutionAdmin(RegistryAdmin):
    list_display = ("name", "status", "participant_count", "created_at")
    list_filter = ("status",)
    search_fields = ("name",)
    fields = ("name", "status")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Institution]:
        count = Count("participants", filter=Q(participants__deleted_at=None))
        return Institution.objects.present().annotate(participant_count=count)

    @admin.display(description=_("participants"), ordering="participant_count")
    def participant_count(self, row: Any) -> SafeString:
        url = reverse("admin:participants_participant_changelist")
        return format_html('<a href="{}?institution__id__exact={}">{}</a>', url, row.pk, row.participant_count)

    def remove(self, obj: Institution, *, actor: str, reason: str) -> None:
        registry.remove_institution(obj, actor=actor, reason=reason)

    def protected(self, objs: list[Institution]) -> list[str]:
        return [
            gettext("%(row)s still has participants") % {"row": row}
            for row in objs
            if row.participants.present().exists()
        ]


class Named(forms.TextInput):
    """What a row is of, in words: nothing to type, and nothing to look up."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def render(self, *args: Any, **kwargs: Any) -> SafeString:
        return format_html("{}", self.name)


class MembershipForm(forms.ModelForm):
    """A membership that is there stays between the two; a chooser in each row would ask the database for each."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("room", "participant") if self.instance.pk else ():
            field = self.fields.get(name)
            if isinstance(field, forms.ModelChoiceField):
                field.disabled, field.widget = True, Named(str(getattr(self.instance, name)))


class MembershipInline(TabularInline):
    model = Membership
    form = MembershipForm
    per_page = MEMBERS_SHOWN
    extra = 0
    autocomplete_fields = ("room", "participant")
    fields = ("room", "participant", "may_speak", "listens", "joined_at")
    readonly_fields = ("joined_at",)
    verbose_name = _("membership")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        rows: QuerySet[Membership] = super().get_queryset(request)
        return rows.select_related("room", "participant").order_by("participant__name", "room__name")


class SavesMemberships(RegistryAdmin):
    """Memberships edited beside their room or participant."""

    def save_formset(
        self, request: HttpRequest, form: Any, formset: BaseInlineFormSet[Any, Any, Any], change: bool
    ) -> None:
        if formset.model is not Membership:
            super().save_formset(request, form, formset, change)
            return
        formset.save(commit=False)
        who, reason = actor(request), why(request)
        moved = [row for row, fields in formset.changed_objects if {"room", "participant"} & set(fields)]
        for row in [*formset.deleted_objects, *moved]:
            stored = Membership.objects.select_related("room", "participant").get(pk=row.pk)
            rooms.leave(stored.room, stored.participant, actor=who, reason=reason)
        for row, _fields in formset.changed_objects:
            if row not in moved:
                rooms.change(row, may_speak=row.may_speak, listens=row.listens, actor=who, reason=reason)
        for row in [*formset.new_objects, *moved]:
            terms = {"may_speak": row.may_speak, "listens": row.listens}
            rooms.join(row.room, row.participant, actor=who, reason=reason, **terms)


class ApiKeyInline(TabularInline):
    model = ApiKey
    extra = 0
    can_delete = False
    fields = readonly_fields = (
        "hint", "noted", "scopes", "created_at", "expires_at", "last_used_at", "last_used_from", "revoked_at",
    )  # fmt: skip
    noted = told("note", _("note"))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def taken_for_ruuter(admin: Any, request: HttpRequest, row: Participant) -> Foreseen:
    if row.is_relay:
        return Foreseen(left=gettext("this relay's own entry"))
    if row.success_statuses == names.RUUTER_STATUSES:
        return Foreseen(left=gettext("has it already"))
    return Foreseen(row.success_statuses, names.RUUTER_STATUSES)


@admin.register(Participant)
class ParticipantAdmin(LifeSteps, ReachPages, ExchangePages, SavesMemberships):
    form = ParticipantForm
    list_display = ("name", "state", "type", "institution", "host", "delivery_mode", "without_key", "created_at")
    list_filter = (
        "status",
        "type",
        "delivery_mode",
        ("institution", NamedFilter),
        ("source_networks", admin.EmptyFieldListFilter),
    )
    list_select_related = ("institution",)
    search_fields = ("name", "host", "institution__name")
    autocomplete_fields = ("institution",)
    readonly_fields = ("public_id", "created_at", "state", "why")
    why = told("status_reason", _("reason of the status"))
    fields = PARTICIPANT_FIELDS
    inlines = (ApiKeyInline, PublicKeyInline, MembershipInline)
    actions = (
        "suspend",
        "lift",
        "activate",
        "revoke",
        "reinstate",
        "take_for_ruuter",
        "export_csv",
        "export_json",
        "delete_selected",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Participant]:
        return Participant.objects.present()

    def get_fields(self, request: HttpRequest, obj: Participant | None = None) -> tuple[str, ...]:
        if obj is None:
            return (*PARTICIPANT_FIELDS, "status")
        return ("state", "why", *super().get_fields(request, obj), "public_id", "created_at")

    def get_inlines(self, request: HttpRequest, obj: Participant | None) -> tuple[Any, ...]:
        return self.inlines if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Participant | None = None) -> bool:
        return super().has_change_permission(request, obj) and not (obj and obj.is_relay)

    def has_delete_permission(self, request: HttpRequest, obj: Participant | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.is_relay)

    def history_of(self, row: Participant) -> ChangeQuerySet:
        """Besides, what was done with its keys, its memberships, its endpoint's terms and its breaker."""
        keys = [str(pk) for pk in row.keys.values_list("pk", flat=True)]
        public_keys = [str(each) for each in row.public_keys.values_list("public_id", flat=True)]
        # Within its institution, which keeps this quick.
        beside = Q(institution=row.institution.public_id) & (
            Q(kind="apikey", subject_id__in=keys)
            | Q(kind="publickey", subject_id__in=public_keys)
            | Q(kind="membership", subject__startswith=f"{row.name} in ")
            | Q(kind__in=("endpointterms", "breaker"), subject_id=str(row.pk))
        )
        return Change.objects.filter(Q(kind="participant", subject_id=str(row.public_id)) | beside)

    @admin.display(description=_("without a key"))
    def without_key(self, row: Participant) -> str | SafeString:
        return (
            badge(
                gettext("from %(source_networks)s") % {"source_networks": row.source_networks}, COLOURS["Suspended"]
            )
            if row.source_networks
            else "–"
        )

    def save_model(self, request: HttpRequest, obj: Participant, form: Any, change: bool) -> None:
        if change:
            registry.update(obj, actor=actor(request), reason=why(request), but=LIFE)
        else:
            request.issued_key = registry.register(obj, actor=actor(request))  # type: ignore[attr-defined]

    def remove(self, obj: Participant, *, actor: str, reason: str) -> None:
        registry.remove_unused_participant(obj, actor=actor, reason=reason)

    def protected(self, objs: list[Participant]) -> list[str]:
        return [f"{row}: {said}" for row in objs for said in dependence.on(row)]

    def response_add(
        self, request: HttpRequest, obj: Participant, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self.show_key_once(request, obj, request.issued_key)  # type: ignore[attr-defined]

    def show_key_once(self, request: HttpRequest, participant: Participant, key: str) -> HttpResponse:
        """The key on the page that answers the form: it is stored nowhere, so this page cannot come again."""
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Key of %(participant)s") % {"participant": participant},
            "participant": participant,
            "key": key,
            "opts": self.opts,
        }
        response = TemplateResponse(request, "admin/participants/participant/key_once.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def get_urls(self) -> list[URLPattern]:
        issue = path(
            "<path:object_id>/issue-key/",
            self.admin_site.admin_view(never_cache(self.issue_key)),
            name="participants_participant_issue_key",
        )
        return [issue, *super().get_urls()]

    def issue_key(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """One more key, so that an old one can be replaced without a gap."""
        participant = self.get_object(request, unquote(object_id))
        if participant is None or participant.is_relay or not request.user.has_perm("participants.add_apikey"):
            raise PermissionDenied
        form = IssueKeyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            days = form.cleaned_data["days"]
            _row, key = registry.issue_key(
                participant,
                actor=actor(request),
                note=form.cleaned_data["note"],
                expires_at=timezone.now() + timedelta(days=days) if days else None,
                scopes=form.cleaned_data["scopes"],
            )
            return self.show_key_once(request, participant, key)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("New key for %(participant)s") % {"participant": participant},
            "participant": participant,
            "form": form,
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/participants/participant/issue_key.html", context)

    @previewed(
        taken_for_ruuter,
        description=_("Built on Ruuter: 2xx and 300 mean success"),
        permissions=["change"],
        form=PerhapsWhy,
        done=_("%(count)s changed; %(left)s had it already, or may not be changed."),
    )
    def take_for_ruuter(self, request: HttpRequest, rows: list[Participant], said: dict[str, Any]) -> int:
        statuses = names.RUUTER_STATUSES
        return registry.set_success_statuses(rows, statuses, actor=actor(request), reason=said["reason"])


def revoked(admin: Any, request: HttpRequest, row: ApiKey) -> Foreseen:
    if row.revoked_at:
        return Foreseen(left=gettext("was revoked already"))
    return Foreseen(gettext("valid") if row.is_valid else gettext("expired"), gettext("revoked: void at once"))


class ExpiresSoon(admin.SimpleListFilter):
    title = _("expires")
    parameter_name = "expires"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(str(days), _("within %(days)s days") % {"days": days}) for days in key_notices.DAYS]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        days = self.value()
        if days not in {str(each) for each in key_notices.DAYS}:
            return queryset
        return queryset.expiring(timezone.now(), timedelta(days=int(days)))


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = (
        "participant", "hint", "state", "noted", "scopes", "created_at", "expires_at", "last_used_at",
        "last_used_from",
    )  # fmt: skip
    list_filter = (
        ExpiresSoon,
        ("revoked_at", admin.EmptyFieldListFilter),
        ("participant__institution", NamedFilter),
    )
    list_select_related = ("participant",)
    search_fields = ("participant__name", "note", "hint", "last_used_from")
    fields = (
        "participant", "hint", "noted", "scopes", "predecessor", "created_at", "expires_at", "last_used_at",
        "last_used_from", "revoked_at",
    )  # fmt: skip
    readonly_fields = ("noted",)
    actions = ("revoke",)
    noted = told("note", _("note"))

    @admin.display(description=_("state"))
    def state(self, row: ApiKey) -> SafeString:
        if row.revoked_at:
            return badge(gettext("Revoked"), COLOURS["Deleted"])
        return (
            badge(gettext("Valid"), COLOURS["Active"])
            if row.is_valid
            else badge(gettext("Expired"), COLOURS["Disabled"])
        )

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("participants.revoke_apikey")

    @previewed(
        revoked,
        description=_("Revoke: void at once, and for good"),
        permissions=["revoke"],
        form=PerhapsWhy,
        done=_("%(count)s revoked; %(left)s were already."),
    )
    def revoke(self, request: HttpRequest, rows: list[ApiKey], said: dict[str, Any]) -> int:
        return sum(registry.revoke_key(key, actor=actor(request), reason=said["reason"]) for key in rows)


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
