"""Participants in files, in Django admin: export of what the filters choose or what is selected; import by two pages,
of which the first shows what the second does."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache

from dmr_project.lib.errors import DomainError
from participants.admin.bulk import PerhapsWhy
from participants.admin.look import (
    BLUE,
    GREEN,
    GREY,
    RED,
    FileInput,
    HistoryPages,
    actor,
    badge,
    chosen_by_filters,
    shown,
)
from participants.exchange import applying, plan, reading, writing
from participants.exchange.columns import COLUMNS
from participants.exchange.plan import Verdict
from participants.models import Participant

EXPORT, IMPORT = "participants.export_participant", "participants.import_participant"
SHOWN = 200  # rows of a plan
SALT, GOOD_FOR = "participants.import", 3600  # seconds that a plan may be looked at
ROOM = 10_000  # bytes of the form beside the plan
COLOURS = {Verdict.REFUSED: RED, Verdict.NEW: GREEN, Verdict.CHANGED: BLUE, Verdict.UNCHANGED: GREY}


class ImportForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("File"),
        widget=FileInput,
        help_text=gettext_lazy("CSV or JSON. The next page shows what it would change; nothing is written before."),
    )


class ExchangePages(HistoryPages):
    """For the participants' admin."""

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(EXPORT)

    def get_urls(self) -> list[URLPattern]:
        export = path(
            "export/<slug:form>/",
            self.admin_site.admin_view(never_cache(self.export)),
            name="participants_participant_export",
        )
        taken = path(
            "import/", self.admin_site.admin_view(never_cache(self.take_in)), name="participants_participant_import"
        )
        return [export, taken, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"may_export": self.has_export_permission(request), "may_import": request.user.has_perm(IMPORT)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # -- out --

    def export(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """What the filters of the list choose."""
        if not self.has_export_permission(request) or form not in writing.FORMATS:
            raise PermissionDenied
        chosen = chosen_by_filters(self, request)
        asked = {name: str(value) for name, value in request.GET.items() if value}
        return download(request, chosen, form, asked)

    @admin.action(description=gettext_lazy("Export as CSV"), permissions=["export"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[Participant]) -> HttpResponseBase:
        return download(request, queryset, "csv", {"selected": "yes"})

    @admin.action(description=gettext_lazy("Export as JSON"), permissions=["export"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[Participant]) -> HttpResponseBase:
        return download(request, queryset, "json", {"selected": "yes"})

    # -- in --

    def take_in(self, request: HttpRequest) -> HttpResponse:
        """A file is sent; then the plan that it gave is sent back, signed, to be done as it was shown."""
        if not request.user.has_perm(IMPORT):
            raise PermissionDenied
        if "plan" in request.POST:
            return self.do_as_shown(request)
        form = ImportForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            sent = form.cleaned_data["file"]
            try:
                content = sent.read(reading.MOST_BYTES + 1)
                found = reading.read(content)
                return self.show_plan(request, found.text, found.how, sent.name or "")
            except DomainError as error:
                form.add_error("file", error.detail)
        return self.ask_for_file(request, form)

    def ask_for_file(self, request: HttpRequest, form: ImportForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Import participants"),
            "opts": self.opts,
            "form": form,
            "columns": [each.name for each in COLUMNS],
        }
        return TemplateResponse(request, "admin/participants/participant/import.html", context)

    def show_plan(self, request: HttpRequest, text: str, how: str, name: str) -> HttpResponse:
        """Raises InvalidInput."""
        found = plan.make(reading.read(text.encode()).rows)
        said = {"text": text, "how": how, "name": name, "digest": found.digest, "user": request.user.pk}
        token = signing.dumps(said, salt=SALT, compress=True)
        if len(token) > (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) - ROOM:
            raise reading.refused(
                _("This is too much for one page: use manage.py participants import on the server.")
            )
        order = list(Verdict)
        rows = sorted(found.entries, key=lambda each: order.index(each.verdict))
        context = {
            **self.admin_site.each_context(request),
            "title": _("What %(file)s would change") % {"file": name},
            "opts": self.opts,
            "how": how,
            "counts": [(badge(str(each.label), COLOURS[each]), found.counts[each]) for each in order],
            "rows": [
                {
                    "entry": each,
                    "badge": badge(str(each.verdict.label), COLOURS[each.verdict]),
                    "differences": [
                        (one.column, shown(one.before), shown(one.after), each.verdict == Verdict.CHANGED)
                        for one in each.differences
                    ],
                }
                for each in rows[:SHOWN]
            ],
            "more": max(0, len(rows) - SHOWN),
            "plan": token,
            "is_refused": found.is_refused,
            "may_be_done": found.changes_something and not found.is_refused,
            "count": found.counts[Verdict.NEW] + found.counts[Verdict.CHANGED],
            "form": PerhapsWhy(),
        }
        return TemplateResponse(request, "admin/participants/participant/plan.html", context)

    def do_as_shown(self, request: HttpRequest) -> HttpResponse:
        form = PerhapsWhy(request.POST)
        try:
            said = signing.loads(request.POST["plan"], salt=SALT, max_age=GOOD_FOR)
        except signing.BadSignature:
            said = {}
        if said.get("user") != request.user.pk or not form.is_valid():
            messages.error(request, _("This was shown too long ago: send the file again."))
            return self.ask_for_file(request, ImportForm())
        try:
            rows = reading.read(said["text"].encode()).rows
            reason = form.cleaned_data["reason"]
            done = applying.apply(rows, said["digest"], actor=actor(request), reason=reason, source=said["name"])
        except DomainError as error:
            messages.error(request, error.detail)
            return self.show_plan(request, said["text"], said["how"], said["name"])
        counts = {"added": done.added, "changed": done.changed}
        messages.success(request, _("%(added)s added, %(changed)s changed.") % counts)
        if done.without_link:
            named = ", ".join(done.without_link[:20]) + ("…" if len(done.without_link) > 20 else "")
            said = _("These have no contact to mail a link to; issue their keys on their pages: %(names)s.")
            messages.warning(request, said % {"names": named})
        return HttpResponseRedirect(reverse("admin:participants_participant_changelist"))


def download(
    request: HttpRequest, rows: QuerySet[Participant], form: str, asked: dict[str, str]
) -> StreamingHttpResponse:
    pieces = writing.export(rows, form, actor=actor(request), asked=asked)
    response = StreamingHttpResponse(pieces, content_type=writing.FORMATS[form])
    name = f"participants-{timezone.localtime():%Y-%m-%d}.{form}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response
