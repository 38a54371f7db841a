"""The steps of a participant's life in Django admin: actions on the list, and a page of its own for one of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache

from dmr_project.lib.errors import DomainError
from participants import life, statuses
from participants.admin.bulk import Foresee, Foreseen, PerhapsWhy, Why, previewed
from participants.admin.look import COLOURS, HistoryPages, actor, badge
from participants.models import Participant

Status = Participant.Status

SUSPEND, REVOKE = "participants.suspend_participant", "participants.revoke_participant"
# Step → what it is called, the permission for it, and from which statuses it leads on.
STEPS = {
    "let_in": (gettext_lazy("Activate: it sends and receives"), SUSPEND, (Status.PENDING, Status.DISABLED)),
    "suspend": (
        gettext_lazy("Suspend: it may not send, and what is addressed to it is held"),
        SUSPEND,
        (Status.ACTIVE, Status.DISABLED, Status.SUSPENDED),
    ),
    "lift": (gettext_lazy("Lift the suspension: it is what it was before"), SUSPEND, (Status.SUSPENDED,)),
    "revoke": (
        gettext_lazy("Revoke: its keys are void, and what waits for it is returned"),
        REVOKE,
        (Status.PENDING, Status.ACTIVE, Status.SUSPENDED, Status.DISABLED),
    ),
    "reinstate": (gettext_lazy("Reinstate: it is active, with a new key"), REVOKE, (Status.REVOKED,)),
}


class Until(forms.DateTimeField):
    """When a suspension ends by itself."""

    TITLE = gettext_lazy("Suspended until:")
    widget = forms.DateTimeInput(attrs={"type": "datetime-local"})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, label=self.TITLE, **kwargs)


class Suspension(Why):
    until = Until(help_text=gettext_lazy("Empty: until somebody lifts it."))


class LifeForm(forms.Form):
    """Of the page: one step of one participant."""

    step = forms.ChoiceField(widget=forms.RadioSelect, label=gettext_lazy("Step"))
    reason = forms.CharField(
        max_length=life.LONGEST_REASON,
        label=gettext_lazy("Why"),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("Goes into the audit log."),
    )
    until = Until(help_text=gettext_lazy("Of a suspension; empty: until somebody lifts it."))

    def __init__(self, steps: dict[str, Any], *args: Any) -> None:
        super().__init__(*args)
        self.fields["step"].choices = list(steps.items())  # type: ignore[attr-defined]


def leads_to(status: Participant.Status) -> Foresee:
    """What comes of giving participants that status."""

    def foresee(admin: Any, request: HttpRequest, row: Participant) -> Foreseen:
        said = row.get_status_display()
        if row.is_relay:
            return Foreseen(left=_("this relay's own entry"))
        if status == Status.SUSPENDED and row.status == status:
            return Foreseen(said, _("suspended until the new end"))
        if row.status == status:
            return Foreseen(left=_("is so already"))
        if not statuses.may_follow(row.status, status):
            return Foreseen(left=_("%(status)s: this step does not lead on from there") % {"status": said})
        return Foreseen(said, str(status.label))

    return foresee


def lifted(admin: Any, request: HttpRequest, row: Participant) -> Foreseen:
    if row.status != Status.SUSPENDED or row.is_relay:
        return Foreseen(left=_("not suspended"))
    return Foreseen(row.get_status_display(), str(Status(row.resumes_as).label))


def reinstated(admin: Any, request: HttpRequest, row: Participant) -> Foreseen:
    if row.status != Status.REVOKED:
        return Foreseen(left=_("not revoked"))
    return Foreseen(row.get_status_display(), _("active, with a new key"))


class LifeSteps(HistoryPages):
    """For the participants' admin: the state in words, the actions, and the page."""

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(SUSPEND)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(REVOKE)

    @admin.display(description=gettext_lazy("state"), ordering="status")
    def state(self, row: Participant) -> SafeString:
        said = row.get_status_display()
        if row.status == Status.SUSPENDED and row.suspended_until:
            said = _("Suspended until %(time)s") % {"time": localize(timezone.localtime(row.suspended_until))}
        if row.is_held(timezone.now()):
            said = _("%(status)s, in an outage") % {"status": said}
        return badge(said, COLOURS[row.status])

    # -- on the list --

    @previewed(
        leads_to(Status.SUSPENDED),
        description=gettext_lazy("Suspend: may not send, and what is addressed to it is held"),
        permissions=["suspend"],
        form=Suspension,
        done=gettext_lazy("%(count)s suspended; %(left)s were already, or may not be."),
    )
    def suspend(self, request: HttpRequest, rows: list[Participant], said: dict[str, Any]) -> int:
        return life.suspend(rows, actor=actor(request), reason=said["reason"], until=said["until"])

    @previewed(
        lifted,
        description=gettext_lazy("Lift the suspension: it is what it was before"),
        permissions=["suspend"],
        form=Why,
        done=gettext_lazy("%(count)s lifted; %(left)s were not suspended."),
    )
    def lift(self, request: HttpRequest, rows: list[Participant], said: dict[str, Any]) -> int:
        return life.lift(rows, actor=actor(request), reason=said["reason"])

    @previewed(
        leads_to(Status.ACTIVE),
        description=gettext_lazy("Activate: sends and receives again"),
        permissions=["suspend"],
        form=PerhapsWhy,
        done=gettext_lazy("%(count)s activated; %(left)s were active already, or may not be."),
    )
    def activate(self, request: HttpRequest, rows: list[Participant], said: dict[str, Any]) -> int:
        return life.let_in(rows, actor=actor(request), reason=said["reason"])

    @previewed(
        leads_to(Status.REVOKED),
        description=gettext_lazy("Revoke: its keys are void, and what waits for it is returned"),
        permissions=["revoke"],
        form=Why,
        done=gettext_lazy("%(count)s revoked; %(left)s were already, or may not be."),
    )
    def revoke(self, request: HttpRequest, rows: list[Participant], said: dict[str, Any]) -> int:
        return life.revoke(rows, actor=actor(request), reason=said["reason"])

    @previewed(
        reinstated,
        description=gettext_lazy("Reinstate one that is revoked, with a new key"),
        permissions=["revoke"],
        form=Why,
        done="",
        most=1,
        too_many=gettext_lazy("Reinstate one at a time: its new key is shown once."),
    )
    def reinstate(self, request: HttpRequest, rows: list[Participant], said: dict[str, Any]) -> HttpResponse:
        key = life.reinstate(rows[0], actor=actor(request), reason=said["reason"])
        return self.show_key_once(request, rows[0], key)

    # -- the page --

    def get_urls(self) -> list[URLPattern]:
        page = path(
            "<path:object_id>/life/",
            self.admin_site.admin_view(never_cache(self.life)),
            name="participants_participant_life",
        )
        return [page, *super().get_urls()]

    def life(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The steps that lead on from where one participant is, each with its reason."""
        participant = self.get_object(request, unquote(object_id))
        if participant is None or participant.is_relay or not self.has_suspend_permission(request):
            raise PermissionDenied
        steps = {
            name: label
            for name, (label, permission, before) in STEPS.items()
            if participant.status in before and request.user.has_perm(permission)
        }
        form = LifeForm(steps, request.POST or None)
        if request.method == "POST" and form.is_valid():
            said = form.cleaned_data
            try:
                if said["step"] == "reinstate":
                    key = life.reinstate(participant, actor=actor(request), reason=said["reason"])
                    return self.show_key_once(request, participant, key)
                step([participant], said["step"], actor(request), said["reason"], said["until"])
            except DomainError as error:
                form.add_error(None, error.detail)
            else:
                participant.refresh_from_db()
                messages.success(
                    request,
                    _("%(name)s is %(status)s.")
                    % {"name": participant, "status": participant.get_status_display().lower()},
                )
                return HttpResponseRedirect(reverse("admin:participants_participant_change", args=[participant.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Status of %(name)s") % {"name": participant},
            "participant": participant,
            "state": self.state(participant),
            "form": form,
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/participants/participant/life.html", context)

    def show_key_once(self, request: HttpRequest, participant: Participant, key: str) -> HttpResponse:
        raise NotImplementedError


def step(rows: Any, name: str, who: str, reason: str, end: datetime | None) -> int:
    """Raises DomainError."""
    if name == "suspend":
        return life.suspend(rows, actor=who, reason=reason, until=end)
    steps = {"let_in": life.let_in, "lift": life.lift, "revoke": life.revoke}
    return steps[name](rows, actor=who, reason=reason)
