"""What the pages of observability share: colours beside words, and times."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext

from observability.models import Alert
from observability.states import State
from participants.admin.look import AMBER, GREEN, GREY, RED

COLOURS: dict[str, str] = {
    State.OK: GREEN,
    State.DEGRADED: AMBER,
    State.LATE: AMBER,
    State.DOWN: RED,
    State.SILENT: RED,
    State.NEVER_HEARD: GREY,
}
LEVEL_COLOURS: dict[str, str] = {Alert.Level.WARNING: AMBER, Alert.Level.CRITICAL: RED}


def ago(at: datetime | None) -> SafeString | str:
    """`3 minutes ago`, with the time itself behind it."""
    if at is None:
        return gettext("never")
    seconds = (timezone.now() - at).total_seconds()
    said = (
        gettext("%(seconds)s s ago") % {"seconds": max(0, int(seconds))}
        if seconds < 60
        else gettext("%(at)s ago") % {"at": timesince(at, depth=1)}
    )
    return format_html('<span title="{}">{}</span>', localize(timezone.localtime(at)), said)
