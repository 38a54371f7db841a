"""Invitations, applications and mails in Django admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import localize
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_lazy as _

from participants import applications, claims, invitations, mail
from participants.admin.bulk import Foreseen, previewed
from participants.admin.filters import NamedFilter
from participants.admin.look import AMBER, GREEN, GREY, RED, ReadOnlyAdmin, actor, badge
from participants.admin.pages import DomainAdmin
from participants.join.forms import FIELDS, ApplicationForm
from participants.models import Application, Invitation, Language, Mail

State = Application.State

_COLOURS = {
    State.RECEIVED: AMBER, State.IN_REVIEW: AMBER, State.APPROVED: GREEN, State.REJECTED: RED, State.WITHDRAWN: GREY,
    Mail.State.WAITING: AMBER, Mail.State.SENT: GREEN, Mail.State.FAILED: RED,
}  # fmt: skip


class InviteForm(forms.Form):
    email = forms.EmailField(label=_("E-mail"), help_text=_("Gets a link to the application form, good for 14 days."))
    language = forms.ChoiceField(
        label=_("Language"), choices=Language.choices, help_text=_("Of the mail, and of the form.")
    )


@admin.register(Invitation)
class InvitationAdmin(DomainAdmin):
    list_display = ("email", "state", "invited_by", "invited_at", "expires_at", "used_at")
    list_filter = (
        ("used_at", admin.EmptyFieldListFilter),
        ("invited_by", NamedFilter),
        "language",
    )
    list_select_related = ("invited_by",)
    search_fields = ("email",)
    fields = ("email", "language", "state", "invited_by", "invited_at", "expires_at", "used_at", "revoked_at")
    readonly_fields = ("state",)
    change_form_template = "admin/participants/steered.html"
    new_form = InviteForm
    new_title = _("Invite somebody to apply")
    new_button = _("Invite")
    new_help = _("An invitation that went to the same address before opens nothing any more.")
    permissions = {"revoke": "participants.revoke_invitation"}
    without_reason = ("revoke",)

    @admin.display(description=_("state"))
    def state(self, row: Invitation) -> SafeString:
        if row.used_at:
            return badge(gettext("Used"), GREEN)
        if row.revoked_at:
            return badge(gettext("Revoked"), GREY)
        return badge(gettext("Open"), AMBER) if row.is_open else badge(gettext("Expired"), GREY)

    def create(self, request: HttpRequest, data: dict[str, Any]) -> tuple[Invitation, str]:
        user: Any = request.user
        row = invitations.invite(data["email"], user, language=data["language"])
        return row, gettext("The invitation to %(email)s is on its way.") % {"email": row.email}

    def buttons(self, row: Invitation) -> dict[str, tuple[str, str]]:
        return {"revoke": (gettext("Revoke"), gettext("The link opens nothing any more."))} if row.is_open else {}

    def act(self, request: HttpRequest, row: Invitation, name: str) -> str:
        user: Any = request.user
        invitations.revoke(row, user)
        return gettext("The %(invitation)s is revoked.") % {"invitation": row}


class EnteredForm(ApplicationForm):
    """What came on paper or by telephone."""

    language = forms.ChoiceField(
        label=_("Language"), choices=Language.choices, help_text=_("In which we write to the applicant.")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field.widget, forms.TextInput):
                field.widget.attrs["class"] = "vTextField"


@admin.register(Application)
class ApplicationAdmin(DomainAdmin):
    list_display = ("name", "institution_name", "state_now", "type", "received_at", "brought_by", "decided_by")
    list_filter = ("state", "type", ("entered_by", admin.EmptyFieldListFilter), "received_at")
    list_select_related = ("entered_by", "decided_by", "invitation")
    search_fields = ("name", "institution_name", "host", "contact_name", "contact_email")
    fieldsets = (
        (None, {"fields": ("state_now", "reason", "received_at", "brought_by", "reviewed_by")}),
        (_("What joins"), {"fields": ("institution_name", "name", "type", "host", "expected", "remarks")}),
        (
            _("Contacts"),
            {"fields": ("contact_name", "contact_email", "technical_name", "technical_email", "language")},
        ),
        (_("Decision"), {"fields": ("decided_by", "decided_at", "participant", "key_link", "public_id")}),
    )
    readonly_fields = ("state_now", "brought_by", "expected", "key_link", "public_id")
    change_form_template = "admin/participants/steered.html"
    new_form = EnteredForm
    new_title = _("Enter an application")
    new_button = _("Enter")
    new_help = _("The applicant is told by mail. Somebody else than you decides on it.")
    permissions = {
        "review": "participants.review_application",
        "approve": "participants.decide_application",
        "reject": "participants.decide_application",
        "link": "participants.add_apikey",
    }
    without_reason = ("review", "approve", "link")

    @admin.display(description=_("state"), ordering="state")
    def state_now(self, row: Application) -> SafeString:
        return badge(row.get_state_display(), _COLOURS[State(row.state)])

    @admin.display(description=_("brought in by"))
    def brought_by(self, row: Application) -> str:
        if row.entered_by is None:
            return gettext("the public form")
        name = row.entered_by.get_username()
        return gettext("%(name)s, who invited") % {"name": name} if row.invitation else name

    @admin.display(description=_("expected components"))
    def expected(self, row: Application) -> str:
        return ", ".join(row.components) or "–"

    @admin.display(description=_("link to the key"))
    def key_link(self, row: Application) -> str:
        claim = row.participant.claims.first() if row.participant else None
        if claim is None:
            return "–"
        if claim.claimed_at:
            return gettext("used %(at)s") % {"at": localize(timezone.localtime(claim.claimed_at))}
        until = localize(timezone.localtime(claim.expires_at))
        return (
            gettext("sent, holds until %(until)s") % {"until": until}
            if claim.is_open
            else gettext("expired %(until)s") % {"until": until}
        )

    def create(self, request: HttpRequest, data: dict[str, Any]) -> tuple[Application, str]:
        user: Any = request.user
        row = Application(language=data["language"], **{name: data[name] for name in FIELDS})
        applications.apply(row, entered_by=user)
        return row, gettext("The application of %(row)s is entered; somebody else decides on it.") % {"row": row}

    def buttons(self, row: Application) -> dict[str, tuple[str, str]]:
        found = {}
        if row.state == State.RECEIVED:
            found["review"] = (gettext("Take into review"), gettext("The applicant is told."))
        if row.is_open:
            found["approve"] = (
                gettext("Approve"),
                gettext(
                    "Makes the participant, in the room national; its technical contact gets the link to the key."
                ),
            )
            found["reject"] = (gettext("Reject"), gettext("The applicant is told why: write it here."))
        if row.state == State.APPROVED:
            found["link"] = (
                gettext("Send a new link to the key"),
                gettext("To the technical contact; the former link goes."),
            )
        return found

    def act(self, request: HttpRequest, row: Application, name: str) -> str:
        user: Any = request.user
        if name == "review":
            applications.begin_review(row, user)
            return gettext("%(row)s is in review.") % {"row": row}
        if name == "approve":
            participant = applications.approve(row, user)
            return gettext("%(row)s is approved; the link to its key goes to %(technical_email)s.") % {
                "row": row,
                "technical_email": participant.technical_email,
            }
        if name == "reject":
            applications.reject(row, user, request.POST.get("reason", ""))
            return gettext("%(row)s is rejected.") % {"row": row}
        assert row.participant is not None
        claims.offer(row.participant, actor=actor(request), language=row.language)
        return gettext("A new link goes to %(address)s.") % {
            "address": row.participant.technical_email or row.participant.contact_email
        }


def tried_again(admin: Any, request: HttpRequest, row: Mail) -> Foreseen:
    what = f"{row.subject}: {row.to}"
    if row.state == Mail.State.SENT:
        return Foreseen(left=gettext("was sent"), what=what)
    return Foreseen(row.get_state_display(), gettext("tried at once"), what=what)


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin):
    list_display = ("subject", "to", "state_now", "created_at", "attempts", "due_at", "last_error")
    list_filter = ("state", "created_at")
    search_fields = ("to", "subject")
    fields = ("subject", "to", "state_now", "created_at", "attempts", "due_at", "ended_at", "last_error")
    readonly_fields = ("state_now",)
    show_full_result_count = False
    actions = ("try_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mail]:
        return Mail.objects.defer("sealed_text")

    @admin.display(description=_("state"), ordering="state")
    def state_now(self, row: Mail) -> SafeString:
        return badge(row.get_state_display(), _COLOURS[Mail.State(row.state)])

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("participants.resend_mail")

    @previewed(
        tried_again,
        description=gettext_lazy("Try again now"),
        permissions=["resend"],
        done=gettext_lazy("%(count)s will be tried again; %(left)s were sent already."),
    )
    def try_again(self, request: HttpRequest, rows: list[Mail], said: dict[str, Any]) -> int:
        return sum(mail.try_again(row, actor=actor(request)) for row in rows)
