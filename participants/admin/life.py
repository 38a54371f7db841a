"""The steps of a participant's life in Django admin: actions on the list, and a page of its own for one of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
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
from participants import life
from participants.admin.look import COLOURS, ActionForm, HistoryPages, actor, badge
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


class StepForm(ActionForm):
    """Beside the actions of the list."""

    reason = forms.CharField(max_length=life.LONGEST_REASON, required=False, label=gettext_lazy("Why:"))
    # Read by until(), which says what is wrong with it; Django would say that no action was chosen.
    until = forms.CharField(required=False, label=Until.TITLE, widget=Until.widget)


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

    @admin.action(
        description=gettext_lazy("Suspend: may not send, and what is addressed to it is held"),
        permissions=["suspend"],
    )
    def suspend(self, request: HttpRequest, queryset: QuerySet[Participant]) -> None:
        self.take(request, queryset, "suspend", _("%(count)s suspended; %(left)s were already, or may not be."))

    @admin.action(description=gettext_lazy("Lift the suspension: it is what it was before"), permissions=["suspend"])
    def lift(self, request: HttpRequest, queryset: QuerySet[Participant]) -> None:
        self.take(request, queryset, "lift", _("%(count)s lifted; %(left)s were not suspended."))

    @admin.action(description=gettext_lazy("Activate: sends and receives again"), permissions=["suspend"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Participant]) -> None:
        self.take(request, queryset, "let_in", _("%(count)s activated; %(left)s were active already, or may not be."))

    @admin.action(
        description=gettext_lazy("Revoke: its keys are void, and what waits for it is returned"),
        permissions=["revoke"],
    )
    def revoke(self, request: HttpRequest, queryset: QuerySet[Participant]) -> None:
        self.take(request, queryset, "revoke", _("%(count)s revoked; %(left)s were already, or may not be."))

    @admin.action(description=gettext_lazy("Reinstate one that is revoked, with a new key"), permissions=["revoke"])
    def reinstate(self, request: HttpRequest, queryset: QuerySet[Participant]) -> HttpResponse | None:
        rows = list(queryset[:2])
        if len(rows) != 1:
            messages.error(request, _("Reinstate one at a time: its new key is shown once."))
            return None
        try:
            key = life.reinstate(rows[0], actor=actor(request), reason=request.POST.get("reason", ""))
        except DomainError as error:
            messages.error(request, error.detail)
            return None
        return self.show_key_once(request, rows[0], key)

    def take(self, request: HttpRequest, rows: QuerySet[Participant], name: str, said: str) -> None:
        """One step of many, and how many took it."""
        try:
            count = step(rows, name, actor(request), request.POST.get("reason", ""), until(request))
        except DomainError as error:
            messages.error(request, error.detail)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        else:
            messages.success(request, said % {"count": count, "left": len(rows) - count})

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


def until(request: HttpRequest) -> datetime | None:
    """What somebody wrote beside an action. Raises ValidationError."""
    found: datetime | None = Until().clean(request.POST.get("until", ""))
    return found
