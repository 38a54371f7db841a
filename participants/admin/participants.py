"""Participants in Django admin: their forms, their keys, and the actions on many of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from participants import dependence, names, registry
from participants.admin.api_keys import ApiKeyInline, IssueKeyForm
from participants.admin.bulk import Foreseen, PerhapsWhy, previewed
from participants.admin.exchange import ExchangePages
from participants.admin.filters import NamedFilter
from participants.admin.life import LifeSteps
from participants.admin.look import COLOURS, actor, badge, told
from participants.admin.memberships import MembershipInline, SavesMemberships
from participants.admin.public_keys import PublicKeyInline
from participants.admin.reach import ReachPages
from participants.admin.registry import NamedForm, why
from participants.admin.telling import Telling
from participants.models import Change, Participant
from participants.querysets import ChangeQuerySet
from participants.statuses import LIFE

PARTICIPANT_FIELDS = (
    "institution", "name", "type", "host", "delivery_mode", "success_statuses", "source_networks",
    "contact_name", "contact_email", "technical_name", "technical_email",
    "wants_receipts", "announcements", "messages_per_second", "messages_burst", "stored_bytes_limit",
)  # fmt: skip

NEW_STATUSES = (Participant.Status.ACTIVE, Participant.Status.PENDING, Participant.Status.DISABLED)


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


def taken_for_ruuter(admin: Any, request: HttpRequest, row: Participant) -> Foreseen:
    if row.is_relay:
        return Foreseen(left=gettext("this relay's own entry"))
    if row.success_statuses == names.RUUTER_STATUSES:
        return Foreseen(left=gettext("has it already"))
    return Foreseen(row.success_statuses, names.RUUTER_STATUSES)


@admin.register(Participant)
class ParticipantAdmin(LifeSteps, ReachPages, ExchangePages, Telling, SavesMemberships):
    form = ParticipantForm
    list_display = ("name", "state", "type", "institution", "host", "delivery_mode", "without_key", "created_at")
    list_filter = (
        "status",
        "type",
        "delivery_mode",
        ("institution", NamedFilter),
        ("source_networks", admin.EmptyFieldListFilter),
        "announcements",
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
        "tell",
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
