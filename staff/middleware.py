"""Pages for staff: a session that is over ends, and whoever must change their password does so first."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.contrib import auth, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from dmr_project.lib.log import event
from staff import metrics, sessions

logger = logging.getLogger(__name__)

ADMIN = "/admin/"


class Sessions:
    """After authentication and messages; concerns nothing outside of the admin."""

    def __init__(self, respond: Callable[[HttpRequest], HttpResponse]) -> None:
        self.respond = respond

    def __call__(self, request: HttpRequest) -> HttpResponse:
        is_for_staff = request.path_info.startswith(ADMIN) and settings.SESSION_COOKIE_NAME in request.COOKIES
        return (look(request) if is_for_staff else None) or self.respond(request)


def look(request: HttpRequest) -> HttpResponse | None:
    """Ends the request's session where that is over. Returns an answer where it must be another than asked for."""
    user = request.user
    if not user.is_authenticated:
        return None
    now, at = sessions.standing(user), timezone.now().timestamp()
    over = sessions.why_over(request.session.get(sessions.MARK), now, at)
    if over is not None:
        metrics.SESSIONS_ENDED.labels(reason=over.value).inc()
        event(logger, "staff_session_over", user=user.pk, reason=over.value)
        auth.logout(request)
        messages.info(request, str(over.label))
        return None
    sessions.note_use(request.session, at)
    if now.must_change_password:
        page = reverse("admin:password_change")
        if request.path not in (page, reverse("admin:logout")):
            messages.warning(request, _("Somebody else knows your password: choose one of your own first."))
            return HttpResponseRedirect(page)
    return None
