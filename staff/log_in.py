"""The log-in page: throttled, and the browser of whoever came in is known from then on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import time_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from participants import log_ins
from staff import known_browsers, throttle


class LogInForm(AdminAuthenticationForm):
    wait = 0  # seconds until the next try, where this one was not made

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username", "")
        if name and self.cleaned_data.get("password"):
            assert self.request is not None
            self.wait = throttle.take(guessers(self.request, name))
        if self.wait:
            log_ins.refused({"username": name})
            raise ValidationError(hold(self.wait), code="held")
        return super().clean()


class LogIn(LoginView):
    authentication_form = LogInForm
    template_name = "staff/log_in.html"

    def form_invalid(self, form: Any) -> HttpResponse:
        return held(super().form_invalid(form), form.wait)

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        throttle.forgive(guessers(self.request, user.get_username()))
        response = super().form_valid(form)
        known_browsers.remember(self.request, response, user.get_username())
        return response


def guessers(request: HttpRequest, name: str) -> list[throttle.Key]:
    """Who is counted when somebody tries to log in by this name."""
    mark = known_browsers.mark_of(request, name)
    if mark:
        return [throttle.of_browser(name, mark)]
    return [throttle.of_account(name), throttle.of_address(request.META.get("REMOTE_ADDR", ""))]


def held(response: HttpResponse, wait: int) -> HttpResponse:
    """The same page, as an answer to an attempt that was not made."""
    if wait:
        response.status_code = 429
        response["Retry-After"] = str(wait)
    return response


def hold(wait: int) -> str:
    """What somebody is told who has to wait so many seconds."""
    at = time_format(timezone.localtime(timezone.now() + timedelta(seconds=wait)), "H:i:s")
    minutes = -(-wait // 60)
    soon = ngettext("in %(count)d minute", "in %(count)d minutes", minutes) % {"count": minutes}
    return _("Too many log-ins failed. Try again at %(at)s (%(soon)s).") % {"at": at, "soon": soon}
