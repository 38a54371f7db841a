"""The start page of the admin: what needs attention today. The site asks for it by settings.UNFOLD."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from observability import today
from observability.today import MOST_COUNTED, Found


def add(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The start page's context, with the matters that its reader may see."""
    found = today.matters(request.user.has_perm)
    return {
        **context,
        "needed": [shown(each) for each in found if each.count],
        "calm": [shown(each) for each in found if not each.count],
    }


def shown(found: Found) -> dict[str, Any]:
    matter = found.matter
    return {
        "name": matter.name,
        "title": matter.title,
        "what_to_do": matter.what_to_do,
        "count": _("over %(count)s") % {"count": f"{MOST_COUNTED:,}"} if found.is_more else found.count,
        "when": when(found),
        "url": reverse(f"admin:{matter.page}") + (f"?{matter.query}" if matter.query else ""),
        "is_urgent": matter.is_urgent,
        "is_ahead": matter.is_ahead,
    }


def when(found: Found) -> str:
    """For how long the oldest has waited, or when the first expires."""
    if found.earliest is None:
        return ""
    if found.matter.is_ahead:
        day = date_format(timezone.localtime(found.earliest), "DATE_FORMAT")
        return _("The first: %(day)s.") % {"day": day}
    return _("The oldest for %(time)s.") % {"time": timesince(found.earliest, depth=1)}
