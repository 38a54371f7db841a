"""A page for each participant: whom it may reach, who may reach it, and why."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from participants import names, neighbours
from participants.admin.look import AMBER, COLOURS, GREEN, RED, HistoryPages, badge
from participants.models import Participant
from participants.neighbours import Between
from participants.reach import Answer, Reach

ROWS = 50
_COLOURS = {Answer.REACHED: GREEN, Answer.HELD: AMBER}


class ReachPages(HistoryPages):
    def get_urls(self) -> list[URLPattern]:
        page = path(
            "<path:object_id>/reach/",
            self.admin_site.admin_view(self.reach_view),
            name="participants_participant_reach",
        )
        return [page, *super().get_urls()]

    def reach_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Those that share a room with it; asked for a name, whoever bears it, so that a *no* has its reason too."""
        one: Participant | None = self.get_object(request, unquote(object_id))
        if one is None:
            raise Http404
        if one.is_relay or not self.has_view_permission(request, one):
            raise PermissionDenied
        asked = request.GET.get("q", "").strip()[: names.LONGEST]
        others = neighbours.anybody_but(one).filter(name__icontains=asked) if asked else neighbours.beside(one)
        page = Paginator(others.select_related("institution"), ROWS).get_page(request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Whom %(name)s reaches") % {"name": one},
            "participant": one,
            "state": badge(one.get_status_display(), COLOURS[one.status]),
            "rooms": one.memberships.select_related("room").order_by("room__name"),
            "asked": asked,
            "page": page,
            "rows": [_row(each) for each in neighbours.between(one, list(page.object_list))],
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/participants/participant/reach.html", context)


def _row(each: Between) -> dict[str, Any]:
    state = badge(each.other.get_status_display(), COLOURS[each.other.status])
    return {"other": each.other, "state": state, "sides": (_said(each.there), _said(each.back))}


def _said(found: Reach) -> dict[str, Any]:
    """The answer, and of each room that the two share what it comes from."""
    rooms = []
    for way in found.ways:
        speaks = _("it may speak") if way.speaks else _("it may not speak")
        listens = _("the other listens") if way.listens else _("the other does not listen")
        rooms.append({"name": way.room, "why": f"{speaks}, {listens}", "is_used": way == found.way})
    return {"answer": _mark(found), "rooms": rooms}


def _mark(found: Reach) -> SafeString:
    return badge(str(found.answer.label), _COLOURS.get(found.answer, RED))
