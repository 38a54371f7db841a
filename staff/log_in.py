"""The pages of the log-in: throttled, in two steps where a second factor is set up.

The browser of whoever came in is known from then on.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import auth, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import time_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.generic import FormView

from participants import log_ins
from staff import halfway, known_browsers, second_factor, sessions, throttle
from staff.forms import CodeForm
from staff.models import SecondFactor


class LogInForm(AdminAuthenticationForm):
    wait = 0  # seconds until the next try, where this one was not made

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        if settings.PASSWORD_LOG_IN == "superusers" and not user.is_superuser:
            raise self.get_invalid_login_error()  # as if the password were wrong

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
    """The name and the password; whoever has set up a second factor goes on to the page that asks for a code."""

    authentication_form = LogInForm
    template_name = "staff/log_in.html"

    def form_invalid(self, form: Any) -> HttpResponse:
        return held(super().form_invalid(form), form.wait)

    def form_valid(self, form: Any) -> HttpResponse:
        user, to = form.get_user(), self.get_success_url()
        if SecondFactor.objects.filter(user=user).exists():
            halfway.begin(self.request, user, to)
            return HttpResponseRedirect(reverse("admin:log_in_code"))
        return complete(self.request, user, to, by="password")


class CodePage(FormView):
    """The second step of a log-in."""

    form_class = CodeForm
    template_name = "staff/log_in_code.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        found = halfway.of(request)
        # Somebody may have taken the second factor away meanwhile: then there is no code to ask for.
        if found is None or not SecondFactor.objects.filter(user=found[0]).exists():
            messages.info(request, _("Log in again."))
            return HttpResponseRedirect(reverse("admin:login"))
        self.user, self.to = found
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(title=_("Log in"), subtitle=None, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        wait = throttle.take(guessers(self.request, self.user.get_username()))
        if wait:
            log_ins.refused({"username": self.user.get_username()})
            form.add_error("code", hold(wait))
            return held(self.form_invalid(form), wait)
        try:
            way = second_factor.check(self.user, form.cleaned_data["code"])
        except second_factor.WrongCode as error:
            log_ins.refused({"username": self.user.get_username()})
            form.add_error("code", error.detail)
            return self.form_invalid(form)
        return complete(self.request, self.user, self.to, by=f"password and {way}", factor=way)


def complete(request: HttpRequest, user: User, to: str, *, by: str, factor: str = "") -> HttpResponse:
    """They are in: with what they had to show for it, and what of that counts as a second factor."""
    # The password was one attempt, and the code another.
    throttle.forgive(guessers(request, user.get_username()), attempts=2 if factor else 1)
    response = HttpResponseRedirect(to)
    known_browsers.remember(request, response, user.get_username())
    enter(request, user, by=by, factor=factor)
    return response


def enter(request: HttpRequest, user: User, *, by: str, factor: str) -> None:
    """The session is theirs, and the audit log says how they came in."""
    request.logged_in_by = by  # type: ignore[attr-defined]
    auth.login(request, user)
    halfway.end(request)
    sessions.note_factor(request.session, factor)


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
