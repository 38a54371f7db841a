"""Rollouts and their progress; what was said of each target."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from participants.admin import CappedPaginator, ReadOnlyAdmin, TabularInline, actor, badge
from participants.admin.filters import NamedFilter
from participants.admin.keys import AutocompleteSelect
from participants.admin.look import AMBER, BLUE, GREEN, GREY, RED, told
from participants.admin.pages import DomainAdmin
from participants.models import Institution, Participant
from updates import progress, rollouts
from updates.models import Release, Report, Rollout, Target, TargetEvent, TargetState
from updates.models.rollouts import FAILURES
from updates.reports import DEFERRED

PAGE = 100
COLOURS = {"running": BLUE, "paused": RED, "aborted": GREY, "finished": GREEN}
STATES = {
    "waiting": GREY,
    "offered": AMBER,
    "accepted": BLUE,
    "installing": BLUE,
    "verifying": BLUE,
    "succeeded": GREEN,
    "failed": RED,
    "rolled_back": RED,
    "timed_out": RED,
    "unreachable": GREY,
    "skipped": GREY,
}
# A wave's bar, from left to right.
BAR = (
    ("succeeded", GREEN, _("succeeded")),
    ("failed", RED, _("failed, rolled back or timed out")),
    ("left_out", GREY, _("skipped or unreachable")),
    ("under_way", BLUE, _("offered or under way")),
)


def target_badge(state: str) -> SafeString:
    return badge(str(TargetState(state).label), STATES[state])


def _state_column(field: str, description: Any) -> Any:
    """A column of a state that an event or a report names."""

    @admin.display(description=description, ordering=field)
    def column(self: Any, row: Any) -> str:
        state = getattr(row, field)
        if state == DEFERRED:
            return gettext("deferred")
        return str(TargetState(state).label) if state in TargetState.values else state

    return column


class StartForm(forms.Form):
    release = forms.ModelChoiceField(
        Release.objects.published().defer("manifest").order_by("-sequence"), label=_("Release")
    )
    waves = forms.CharField(
        label=_("Waves"),
        initial="10,50,100",
        help_text=_("Shares of the Instances in percent, each with those before it, up to 100."),
    )
    gate = forms.FloatField(
        label=_("Gate"),
        initial=1.0,
        min_value=0,
        max_value=1,
        help_text=_("Share of a wave that must have succeeded, such as 0.95."),
    )
    soak_seconds = forms.IntegerField(
        initial=3600, min_value=0, label=_("Soak time (s)"), help_text=_("From the gate to the next wave.")
    )
    max_failures = forms.IntegerField(
        initial=0, min_value=0, label=_("Failures allowed"), help_text=_("One more pauses the rollout.")
    )
    institution = forms.ModelChoiceField(
        Institution.objects.present(),
        label=_("Institution"),
        required=False,
        empty_label=_("All"),
        widget=AutocompleteSelect(Rollout._meta.get_field("institution"), admin.site),
        help_text=_("Only its participants; empty: all."),
    )
    participant_type = forms.ChoiceField(choices=Participant.Type.choices, label=_("Type"))
    from_version = forms.CharField(
        label=_("From version"),
        required=False,
        max_length=100,
        help_text=_("Only those that said that they run this version."),
    )

    in_outages = forms.BooleanField(
        label=_("Also in outages"),
        required=False,
        help_text=_(
            "Else an Instance in an outage is offered nothing until that is over, and its time stands still."
        ),
    )

    def clean_waves(self) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in self.cleaned_data["waves"].split(","))
        except ValueError:
            raise forms.ValidationError(gettext("Percentages with commas between, such as 10,50,100.")) from None


@admin.register(Rollout)
class RolloutAdmin(DomainAdmin):
    new_form = StartForm
    new_title = _("Start a rollout")
    new_button = _("Start")
    new_help = _("The Instances are fixed at the start: who registers later is not among them.")
    list_display = ("release", "state_now", "succeeded", "failed", "size", "why", "started_at", "started_by")
    why = told("reason", _("reason"))
    list_filter = ("state", ("institution", NamedFilter))
    list_select_related = ("release", "started_by")
    search_fields = ("release__version",)
    fields = (
        ("release", "state_now", "why"),
        ("started_by", "started_at", "ended_at"),
        ("gate", "soak_seconds", "max_failures"),
        ("institution", "participant_type", "from_version", "in_outages"),
    )
    readonly_fields = ("state_now", "why")
    permissions = dict.fromkeys(("pause", "resume", "abort"), "updates.steer_rollout")
    change_form_template = "admin/updates/rollout.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rollout]:
        rows = Rollout.objects.select_related("release", "institution", "started_by").defer("release__manifest")
        if not self.is_list(request):
            return rows
        return rows.annotate(
            succeeded_count=Count("targets", filter=Q(targets__state=TargetState.SUCCEEDED)),
            failed_count=Count("targets", filter=Q(targets__state__in=FAILURES)),
        )

    @admin.display(description=_("state"), ordering="state")
    def state_now(self, row: Rollout) -> SafeString:
        return badge(row.get_state_display(), COLOURS[row.state])

    @admin.display(description=_("succeeded"), ordering="succeeded_count")
    def succeeded(self, row: Any) -> int:
        count: int = row.succeeded_count
        return count

    @admin.display(description=_("failed"), ordering="failed_count")
    def failed(self, row: Any) -> int:
        count: int = row.failed_count
        return count

    def create(self, request: HttpRequest, data: dict[str, Any]) -> tuple[Rollout, str]:
        user: Any = request.user
        plan = rollouts.Plan(**{name: value for name, value in data.items() if name != "release"})
        rollout = rollouts.start(data["release"], plan, user)
        said = ngettext(
            "The rollout of %(release)s runs, for %(count)s Instance.",
            "The rollout of %(release)s runs, for %(count)s Instances.",
            rollout.size,
        )
        return rollout, said % {"release": rollout.release, "count": rollout.size}

    def buttons(self, row: Rollout) -> dict[str, tuple[str, str]]:
        pause = (gettext("Pause"), gettext("what no agent has accepted is withdrawn"))
        resume = (gettext("Resume"), gettext("the failures so far are excused"))
        abort = (gettext("Abort"), gettext("for good; what is under way goes on to its end"))
        by_state: dict[str, dict[str, tuple[str, str]]] = {
            "running": {"pause": pause, "abort": abort},
            "paused": {"resume": resume, "abort": abort},
        }
        return by_state.get(row.state, {})

    def act(self, request: HttpRequest, row: Rollout, name: str) -> str:
        reason = request.POST.get("reason", "")[:500]
        call = {"pause": rollouts.pause, "resume": rollouts.resume, "abort": rollouts.abort}[name]
        count = call(row, actor=actor(request), reason=reason)
        return {
            "pause": ngettext("Paused; %(count)s offer withdrawn.", "Paused; %(count)s offers withdrawn.", count),
            "resume": ngettext(
                "It goes on; %(count)s failure excused.", "It goes on; %(count)s failures excused.", count
            ),
            "abort": ngettext(
                "Aborted; %(count)s Instance left as it is.", "Aborted; %(count)s Instances left as they are.", count
            ),
        }[name] % {"count": count}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        wanted = {"page": request.GET.get("p", "1"), "state": request.GET.get("target_state", "")}
        return super().change_view(request, object_id, form_url, {"wanted": wanted, **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row: Rollout = context["original"]
        wanted = context["wanted"]
        waves = progress.of_waves(row)
        targets = row.targets.select_related("participant__institution", "wave").order_by(
            "wave__number", "participant__name"
        )
        if wanted["state"] in TargetState.values:
            targets = targets.filter(state=wanted["state"])
        page = Paginator(targets, PAGE).get_page(wanted["page"])
        context |= {
            "waves": [{"progress": each, "bar": bar(each)} for each in waves],
            "counts": [(state, target_badge(state), count) for state, count in progress.per_state(waves)],
            "held": progress.held(row) if row.state in (Rollout.State.RUNNING, Rollout.State.PAUSED) else 0,
            "page": page,
            "targets": [(each, target_badge(each.state)) for each in page],
            "refresh": row.state == Rollout.State.RUNNING,
        }
        return super().render_change_form(request, context, *args, **kwargs)


def bar(wave: progress.WaveProgress) -> list[dict[str, Any]]:
    """The parts of a wave's bar, widths in percent."""
    counts = [(getattr(wave, name), colour, label) for name, colour, label in BAR]
    return [
        {"width": f"{100 * count / wave.wave.size:.2f}", "colour": colour, "label": f"{count} {label}"}
        for count, colour, label in counts
        if count
    ]


class Rows(TabularInline):
    extra = 0
    hide_title = True  # the columns say it all
    per_page = 50
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class EventRows(Rows):
    model = TargetEvent
    fields = readonly_fields = ("at", "kind", "before", "after", "by", "said")
    before, after = _state_column("from_state", _("from state")), _state_column("to_state", _("to state"))
    by, said = told("actor", _("actor")), told("detail", _("detail"))


class ReportRows(Rows):
    model = Report
    fields = readonly_fields = ("at", "sequence", "said", "detail", "steps_told", "answered", "refused")
    said, answered = _state_column("state", _("state")), _state_column("answer", _("answer"))
    refused = told("refusal", _("refusal"))

    @admin.display(description=_("steps"))
    def steps_told(self, row: Report) -> str:
        """Each with its state and how long it took. (JSON in colours costs more than all else of a row.)"""
        return "\n".join(step_told(each) for each in row.steps)


def step_told(step: Any) -> str:
    if not isinstance(step, dict):
        return str(step)
    name, state, seconds = (step.get(each, "") for each in ("name", "state", "seconds"))
    return f"{name}: {state}" + (f" ({seconds} s)" if isinstance(seconds, (int, float)) else "")


@admin.register(Target)
class TargetAdmin(ReadOnlyAdmin):
    """One Instance in a rollout, with all that was said of it."""

    list_display = ("participant", "release", "wave_number", "state_now", "why", "contradicted_at", "ended_at")
    why = told("reason", _("reason"))
    list_filter = ("state", ("contradicted_at", admin.EmptyFieldListFilter))
    list_select_related = ("participant", "rollout__release", "wave")
    search_fields = ("participant__name", "rollout__release__version")
    fields = (
        ("participant", "rollout", "wave"),
        ("state_now", "why"),
        ("offered_at", "accepted_at", "deadline", "ended_at"),
        ("excused_at", "contradicted_at", "public_id"),
    )
    readonly_fields = ("state_now", "why", "public_id")
    inlines = (EventRows, ReportRows)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Target]:
        return Target.objects.defer("rollout__release__manifest")

    @admin.display(description=_("state"), ordering="state")
    def state_now(self, row: Target) -> SafeString:
        return target_badge(row.state)

    @admin.display(description=_("release"), ordering="rollout__release__sequence")
    def release(self, row: Target) -> str:
        return row.rollout.release.version

    @admin.display(description=_("wave"), ordering="wave__number")
    def wave_number(self, row: Target) -> int:
        return row.wave.number


class ToStateFilter(admin.SimpleListFilter):
    title = _("to state")
    parameter_name = "to_state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in TargetState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(to_state=self.value()) if self.value() else queryset


@admin.register(TargetEvent)
class TargetEventAdmin(ReadOnlyAdmin):
    """What happened to targets; contradictions are what staff look for."""

    list_display = ("at", "kind", "participant", "release", "before", "after", "by", "said")
    fields = ("target", "at", "kind", "before", "after", "by", "nonce", "said")
    readonly_fields = ("before", "after", "by", "said")
    before, after = _state_column("from_state", _("from state")), _state_column("to_state", _("to state"))
    by, said = told("actor", _("actor")), told("detail", _("detail"))
    list_filter = ("kind", ToStateFilter)
    list_select_related = ("target__participant", "target__rollout__release")
    search_fields = ("target__participant__name",)
    show_full_result_count = False
    paginator = CappedPaginator
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[TargetEvent]:
        return TargetEvent.objects.defer("target__rollout__release__manifest")

    @admin.display(description=_("Instance"))
    def participant(self, row: TargetEvent) -> str:
        return row.target.participant.name

    @admin.display(description=_("release"))
    def release(self, row: TargetEvent) -> str:
        return row.target.rollout.release.version
