"""Pages for staff: a session that is over ends.

Whoever must change their password, or set up a second factor, sees no other page before.
"""

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
from staff import metrics, second_factor, sessions

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
        said = _("Somebody else knows your password: choose one of your own first.")
        return send_to("admin:password_change", request, said)
    if second_factor.is_required(now) and not sessions.factor_of(request.session):
        said = _("Set up a second factor first: with your roles a password alone does not do.")
        return send_to("admin:second_factor", request, said)
    return None


def send_to(name: str, request: HttpRequest, said: str) -> HttpResponse | None:
    """To the one page that they may see now, but for the way out and the choice of a language."""
    page = reverse(name)
    if request.path in (page, reverse("admin:logout"), reverse("admin:language")):
        return None
    messages.warning(request, said)
    return HttpResponseRedirect(page)
