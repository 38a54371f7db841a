"""One's own second factor: setting it up, and new recovery codes."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import segno
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from dmr_project.lib import sealing
from dmr_project.lib.errors import DomainError
from staff import second_factor, sessions, throttle, totp
from staff.forms import CodeForm, SetUpForm
from staff.log_in import hold
from staff.models import SecondFactor


def own(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """The page, behind the admin's log-in; `context` is the site's."""
    user: Any = request.user
    row = SecondFactor.objects.filter(user=user).first()
    shown = _renew(request, row) if row is not None else _set_up(request)
    template = "staff/recovery_codes.html" if "codes" in shown else "staff/second_factor.html"
    shown = {**context, "title": _("Second factor"), "row": row, **shown}
    response = TemplateResponse(request, template, shown, status=429 if "wait" in shown else 200)
    response["Cache-Control"] = "no-store"
    return response


def _set_up(request: HttpRequest) -> dict[str, Any]:
    user: Any = request.user
    bound = "sealed" in request.POST
    form = SetUpForm(request.POST if bound else None)
    try:
        secret = sealing.unseal(request.POST["sealed"], _purpose(user)) if bound else totp.new_secret()
    except sealing.CannotUnseal:  # not from our page, or from before the secret key changed
        form, secret = SetUpForm(), totp.new_secret()
    if form.is_bound and form.is_valid():
        try:
            codes = second_factor.set_up(user, secret, form.cleaned_data["code"])
        except DomainError as error:
            form.add_error("code", error.detail)
        else:
            sessions.note_factor(request.session, second_factor.Way.CODE)
            return {"codes": codes}
    if not form.is_bound:
        form = SetUpForm(initial={"sealed": sealing.seal(secret, _purpose(user))})
    return {"form": form, "qr_code": qr_code(secret, user.get_username()), "secret": totp.as_text(secret)}


def _renew(request: HttpRequest, row: SecondFactor) -> dict[str, Any]:
    form = CodeForm(request.POST if request.method == "POST" else None)
    shown: dict[str, Any] = {"form": form, "left": second_factor.codes_left(row)}
    if form.is_bound and form.is_valid():
        # Whoever sits at somebody else's open session may guess no faster than at a log-in.
        guesser = [throttle.of_browser(row.user.get_username(), "renewal")]
        wait = throttle.take(guesser)
        if wait:
            form.add_error("code", hold(wait))
            return {**shown, "wait": wait}
        try:
            codes = second_factor.renew_recovery_codes(row.user, form.cleaned_data["code"])
        except second_factor.WrongCode as error:
            form.add_error("code", error.detail)
        else:
            throttle.forgive(guesser)
            return {"codes": codes}
    return shown


def qr_code(secret: bytes, name: str) -> SafeString:
    """As an SVG within the page: it is fetched from nowhere, and so kept nowhere."""
    issuer = f"DMR {urlsplit(settings.PUBLIC_URL).hostname}"
    made = segno.make_qr(totp.uri(secret, issuer, name), error="m")
    return mark_safe(made.svg_inline(scale=5, border=4, light="#fff", dark="#000"))


def _purpose(user: Any) -> str:
    return f"set-up of the second factor of user {user.pk}"
