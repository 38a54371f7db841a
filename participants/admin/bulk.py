"""Actions on many rows of a list: a page first shows what each of them changes, and asks why; then that is done.

    @previewed(foresee, description=…, permissions=["suspend"], form=Why, done=_("%(count)s suspended; %(left)s …"))
    def suspend(self, request, rows, said): return life.suspend(rows, actor=actor(request), reason=said["reason"])

What is done is guarded by the domain as ever: a row that somebody changed since the page was shown is left alone
where the step does not lead on from there, and the count says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy

from dmr_project.lib.errors import DomainError
from participants.admin.keys import may_be_key

CONFIRMED, CHOSEN = "confirmed", "chosen"
SHOWN = 50  # rows of a table
LONGEST_REASON = 500


@dataclass(frozen=True)
class Foreseen:
    """What an action makes of a row, in words: from `before` to `after`; or why it leaves it alone."""

    before: str = ""
    after: str = ""
    left: str = ""
    what: str = ""  # the row's name, where its own says little


Foresee = Callable[[Any, HttpRequest, Any], Foreseen]
# Does it to rows, with what was said on the page. Returns how many changed, or a page of its own. Raises DomainError.
Act = Callable[[Any, HttpRequest, list[Any], dict[str, Any]], int | HttpResponseBase]


class Nothing(forms.Form):
    """The page asks for nothing but a yes."""


class Why(forms.Form):
    reason = forms.CharField(
        max_length=LONGEST_REASON,
        label=gettext_lazy("Why"),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("Goes into the audit log."),
    )


class PerhapsWhy(Why):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = False


def previewed(
    foresee: Foresee,
    *,
    description: Any,
    permissions: Sequence[str],
    done: Any,
    form: type[forms.Form] = Nothing,
    prepare: Callable[[Any], Any] = lambda rows: rows,
    most: int = 0,
    too_many: Any = "",
) -> Callable[[Act], Any]:
    """An action of an admin that shows first, and does then.

    `done`: what to tell, with %(count)s that changed and %(left)s that did not. `prepare`: of the rows, what
    `foresee` needs of them in one query. `most`: rows at a time, else the admin's own limit.
    """

    def decorate(act: Act) -> Any:
        @admin.action(description=description, permissions=permissions)
        @wraps(act)
        def action(self: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
            chosen = prepare(_chosen(request, queryset))
            limit = most or self.most_chosen
            rows = list(chosen[: limit + 1])
            if len(rows) > limit:
                messages.error(request, too_many or self.too_many(limit))
                return None
            is_said = CONFIRMED in request.POST
            asked = form(request.POST) if is_said else form()
            if is_said and asked.is_valid():
                try:
                    outcome = act(self, request, rows, asked.cleaned_data)
                except DomainError as error:
                    asked.add_error(None, error.detail)
                else:
                    if isinstance(outcome, HttpResponseBase):
                        return outcome
                    level = messages.SUCCESS if outcome else messages.WARNING
                    messages.add_message(request, level, done % {"count": outcome, "left": len(rows) - outcome})
                    return None
            found = [(row, foresee(self, request, row)) for row in rows]
            return _page(self, request, act.__name__, description, found, asked)

        return action

    return decorate


def each(request: HttpRequest, rows: Iterable[Any], act: Callable[[Any], object]) -> int:
    """One domain call a row, and one message for each refusal. Returns how many were done."""
    count = 0
    for row in rows:
        try:
            count += act(row) is not False
        except DomainError as error:
            messages.error(request, error.detail)
    return count


def _chosen(request: HttpRequest, queryset: Any) -> Any:
    """Those that the page showed, and no others that have come to match the list's filters since."""
    if CHOSEN not in request.POST:
        return queryset
    return queryset.filter(pk__in=[key for key in request.POST[CHOSEN].split(",") if may_be_key(queryset.model, key)])


def _page(
    self: Any, request: HttpRequest, name: str, title: Any, found: list[tuple[Any, Foreseen]], asked: forms.Form
) -> TemplateResponse:
    changes = [(row, said) for row, said in found if not said.left]
    left = [(row, said) for row, said in found if said.left]
    context = {
        **self.admin_site.each_context(request),
        "title": title,
        "opts": self.opts,
        "changes": changes[:SHOWN],
        "change_count": len(changes),
        "more": max(0, len(changes) - SHOWN),
        "left": left[:SHOWN],
        "left_count": len(left),
        "left_why": Counter(said.left for _row, said in left).most_common(),
        "form": asked,
        "hidden": {
            "action": name,
            "select_across": "1",  # of the list, what `chosen` names
            ACTION_CHECKBOX_NAME: str(found[0][0].pk) if found else "",
            CHOSEN: ",".join(str(row.pk) for row, _said in found),
            CONFIRMED: "yes",
        },
        "way_back": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/participants/bulk.html", context)
