"""The pages: each reads the form or the link, makes one domain call, and shows what came of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from dmr_project.lib.errors import DomainError
from participants import applications, claims, invitations
from participants.join.attempts import TooManyAttempts, attempts
from participants.join.forms import ApplicationForm
from participants.models import Invitation, Language

LANGUAGES = dict(Language.choices)

View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """In the language that was asked for, never cached, GET and POST alone; a refusal of the domain is a page too."""

    @never_cache
    @require_http_methods(["GET", "HEAD", "POST"])
    @wraps(view)
    def shown(request: HttpRequest, **link: str) -> HttpResponse:
        with translation.override(language_of(request)):
            try:
                if request.method == "POST":
                    count(request)
                return view(request, **link)
            except DomainError as error:
                return refusal(request, error)

    return shown


def language_of(request: HttpRequest) -> str:
    """`?lang=`, else what the browser asks for."""
    asked = request.GET.get("lang", "")
    return asked if asked in LANGUAGES else translation.get_language_from_request(request)


def speak(request: HttpRequest, row: models.Model) -> None:
    """Where nobody asked for another, the language that the row's person chose."""
    if request.GET.get("lang", "") not in LANGUAGES:
        translation.activate(str(row.language))  # type: ignore[attr-defined]


def count(request: HttpRequest) -> None:
    """Raises TooManyAttempts."""
    seconds = attempts.count(request.META.get("REMOTE_ADDR", ""))
    if seconds:
        raise TooManyAttempts(_("Too many forms came from your address. Try again in an hour."), seconds)


def show(request: HttpRequest, template: str, status: int = 200, **context: Any) -> HttpResponse:
    language = translation.get_language() or "en"
    # Another language is a GET: after a POST it would lose what was typed, or the key.
    others = [(code, name) for code, name in LANGUAGES.items() if code != language and request.method != "POST"]
    return render(
        request, f"join/{template}.html", {"language": language, "others": others, **context}, status=status
    )


def refusal(request: HttpRequest, error: DomainError) -> HttpResponse:
    response = show(request, "refusal", error.status, detail=error.detail)
    for name, value in error.headers.items():
        response[name] = value
    return response


@page
def apply(request: HttpRequest) -> HttpResponse:
    """The form for anybody."""
    return _form(request, None)


@page
def invited(request: HttpRequest, token: str) -> HttpResponse:
    """The same for somebody who was invited."""
    invitation = invitations.find(token)
    speak(request, invitation)
    return _form(request, invitation)


def _form(request: HttpRequest, invitation: Invitation | None) -> HttpResponse:
    initial = {"contact_email": invitation.email} if invitation else {}
    form = ApplicationForm(request.POST if request.method == "POST" else None, initial=initial)
    if not form.is_bound or not form.is_valid():
        return show(request, "apply", 400 if form.is_bound else 200, form=form, is_invited=invitation is not None)
    row = form.save(commit=False)
    row.language = translation.get_language()
    try:
        applications.apply(row, invitation=invitation)
    except DomainError as error:
        form.refuse(error)
        return show(request, "apply", error.status, form=form, is_invited=invitation is not None)
    return show(request, "received", application=row)


@page
def status(request: HttpRequest, token: str) -> HttpResponse:
    """How an application stands; the applicant withdraws it here."""
    application = applications.find(token)
    speak(request, application)
    if request.method == "POST":
        applications.withdraw(application)
        lang = translation.get_language()
        return redirect(f"{reverse('join:status', args=[token])}?lang={lang}")
    return show(request, "status", application=application)


@page
def claim(request: HttpRequest, token: str) -> HttpResponse:
    """A button, and behind it the key. Programs that follow links in mails press no buttons."""
    row = claims.find(token)
    speak(request, row)
    if request.method == "POST":
        return show(request, "key", participant=row.participant, key=claims.claim(row))
    return show(request, "claim", claim=row)
