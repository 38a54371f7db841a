"""Requeueing and discarding many dead letters in Django admin: a page to ask for it, one to see how far it is."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from participants.admin import ReadOnlyAdmin, actor, badge
from participants.admin.bulk import CONFIRMED
from participants.admin.look import AMBER, BLUE, GREEN
from relay import dead_letter_jobs, foreseen
from relay.dead_letters import Scope
from relay.models import DeadLetterJob
from relay.querysets import Obstacle

_COLOURS = {
    DeadLetterJob.State.RUNNING: BLUE,
    DeadLetterJob.State.DONE: GREEN,
    DeadLetterJob.State.STOPPED: AMBER,
}


class DayAndTime(forms.SplitDateTimeWidget):
    """Each in the browser's own field for it, which says what it is."""

    def __init__(self) -> None:
        date: dict[str, Any] = {"type": "date", "aria-label": _("Date")}
        time: dict[str, Any] = {"type": "time", "step": "1", "aria-label": _("Time")}
        super().__init__(date_attrs=date, time_attrs=time, date_format="%Y-%m-%d", time_format="%H:%M:%S")

    def decompress(self, value: Any) -> Any:
        """Also of what the page's address says, which Django leaves as it was written."""
        if isinstance(value, str):
            try:
                value = forms.DateTimeField().to_python(value)
            except forms.ValidationError:
                value = None
        return super().decompress(value)


class Moment(forms.SplitDateTimeField):
    widget = DayAndTime


class DeadLetterJobForm(forms.ModelForm):
    """Which dead letters, and what to do with them."""

    since = Moment(label=_("Since"), required=False, help_text=_("Dead since then, or later."))
    until = Moment(label=_("Until"), required=False, help_text=_("Dead since then, or earlier; empty: now."))

    class Meta:
        model = DeadLetterJob
        fields = ("action", "recipient_name", "since", "until")
        help_texts = {"recipient_name": _("Those to this recipient, by its exact name; empty: to all.")}

    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or self.cleaned_data
        if not said.get("recipient_name") and not said.get("since") and not self.errors:
            raise forms.ValidationError(gettext("Name a recipient, or since when."))
        return said

    def _post_clean(self) -> None:
        """The row is made by dead_letter_jobs.start, which fills in the rest."""


def scope_of(asked: dict[str, Any]) -> Scope:
    return Scope(None, asked["recipient_name"], asked["since"], asked["until"])


def until_now(posted: QueryDict) -> QueryDict:
    """What was sent, with an end: so that what is done later is what was shown now."""
    said = posted.copy()
    if not said.get("until_0") and not said.get("until_1"):
        now = timezone.localtime()
        said["until_0"], said["until_1"] = f"{now:%Y-%m-%d}", f"{now:%H:%M:%S}"
    return said


@admin.register(DeadLetterJob)
class DeadLetterJobAdmin(ReadOnlyAdmin):
    form = DeadLetterJobForm
    change_form_template = "admin/relay/deadletterjob/change_form.html"
    list_display = ("__str__", "state_badge", "progress", "left_alone", "requested_by", "requested_at", "finished_at")
    list_filter = ("state", "action")
    ordering = ("-id",)
    list_per_page = 50
    show_full_result_count = False
    fields = (
        "state_badge", "progress", "left_alone", "action", "recipient_name", "sender", "since", "until",
        "requested_by", "requested_at", "finished_at",
    )  # fmt: skip

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else self.form.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("relay.add_deadletterjob")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """What is asked for is shown first, and done when it is said again."""
        if object_id is None and request.method == "POST" and CONFIRMED not in request.POST:
            if not self.has_add_permission(request):
                raise PermissionDenied
            form = DeadLetterJobForm(until_now(request.POST))
            if form.is_valid():
                return self.show_first(request, form)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def show_first(self, request: HttpRequest, form: DeadLetterJobForm) -> HttpResponse:
        asked = form.cleaned_data
        forecast = dead_letter_jobs.forecast(scope_of(asked))
        is_requeue = asked["action"] == DeadLetterJob.Action.REQUEUE
        foresee = foreseen.requeued if is_requeue else foreseen.discarded
        action = DeadLetterJob.Action(asked["action"]).label
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("What would be done: %(action)s") % {"action": action},
            "opts": self.opts,
            "forecast": forecast,
            "sample": [(row, foresee(self, request, row)) for row in forecast.sample],
            "form": form,
            "confirmed": CONFIRMED,
        }
        return TemplateResponse(request, "admin/relay/deadletterjob/forecast.html", context)

    def save_model(self, request: HttpRequest, obj: DeadLetterJob, form: Any, change: bool) -> None:
        asked = form.cleaned_data
        job = dead_letter_jobs.start(asked["action"], scope_of(asked), actor=actor(request))
        obj.__dict__.update(job.__dict__)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """It is in the history of changes, with how it ended."""

    def response_add(self, request: HttpRequest, obj: DeadLetterJob, post_url_continue: Any = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:relay_deadletterjob_change", args=[obj.pk]))

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Who asked for it, and how it ended, is among the registry's changes."""
        job = self.get_object(request, unquote(object_id))
        if job is None or not self.has_view_permission(request, job):
            raise PermissionDenied
        query = urlencode({"kind": self.opts.model_name, "subject_id": job.public_id})
        return HttpResponseRedirect(f"{reverse('admin:participants_change_changelist')}?{query}")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.stop))
        return [path("<int:pk>/stop/", view, name="relay_deadletterjob_stop"), *super().get_urls()]

    def stop(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        job = DeadLetterJob.objects.filter(pk=pk).first()
        if job is None or not dead_letter_jobs.stop(job, actor=actor(request)):
            messages.warning(request, gettext("It was over already."))
        else:
            messages.success(request, gettext("Stopped: what was not done stays a dead letter."))
        return HttpResponseRedirect(reverse("admin:relay_deadletterjob_change", args=[pk]))

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, row: DeadLetterJob) -> SafeString:
        return badge(row.get_state_display(), _COLOURS[DeadLetterJob.State(row.state)])

    @admin.display(description=_("progress"))
    def progress(self, row: DeadLetterJob) -> str:
        is_requeue = row.action == DeadLetterJob.Action.REQUEUE
        said = gettext("%(count)s of %(all)s requeued") if is_requeue else gettext("%(count)s of %(all)s discarded")
        is_more = row.estimate >= dead_letter_jobs.MOST_COUNTED
        all_of_them = gettext("at least %(count)s") % {"count": row.estimate} if is_more else row.estimate
        return said % {"count": row.done, "all": all_of_them}

    @admin.display(description=_("left alone"))
    def left_alone(self, row: DeadLetterJob) -> str:
        return "; ".join(f"{count}: {Obstacle(name).label}" for name, count in sorted(row.left.items())) or "–"
