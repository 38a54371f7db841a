"""To the provider and back.

What ties the two together (state, nonce, verifier) is in a signed cookie of this browser alone, for ten minutes:
strangers who begin without end leave nothing here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from dmr_project.lib.log import event
from participants import links, log_ins
from staff import log_in, metrics, throttle
from staff.second_factor import Way
from staff.sign_on import id_token, people, provider
from staff.sign_on.errors import Refused

COOKIE = "dmr_sign_on"
SALT = "staff.sign_on"
SECONDS = 600

logger = logging.getLogger(__name__)


def is_on() -> bool:
    return bool(settings.OIDC_ISSUER)


def begin(request: HttpRequest) -> HttpResponse:
    """The button on the log-in page."""
    if not is_on() or request.method != "POST":
        return HttpResponseRedirect(reverse("admin:login"))
    kept = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
    challenge = hashlib.sha256(kept["verifier"].encode()).digest()
    try:
        found = provider.kept.provider()
    except Refused as error:
        return refuse(request, error)
    asked = {
        "response_type": "code",
        "client_id": settings.OIDC_CLIENT_ID,
        "redirect_uri": _back(),
        "scope": settings.OIDC_SCOPES,
        "state": kept["state"],
        "nonce": kept["nonce"],
        "code_challenge": base64.urlsafe_b64encode(challenge).decode("ascii").rstrip("="),
        "code_challenge_method": "S256",
    }
    if settings.OIDC_ACR_VALUES:
        asked["acr_values"] = " ".join(settings.OIDC_ACR_VALUES)
    separator = "&" if "?" in found.authorization else "?"
    response = HttpResponseRedirect(f"{found.authorization}{separator}{urlencode(asked)}")
    response.set_cookie(
        COOKIE,
        signing.dumps({**kept, "to": _wanted(request)}, salt=SALT),
        max_age=SECONDS,
        path=reverse("admin:login"),
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",  # the way back is a link from another site
    )
    return response


def finish(request: HttpRequest) -> HttpResponse:
    """The provider sends the browser back to here."""
    if not is_on():
        return HttpResponseRedirect(reverse("admin:login"))
    # Each comes with a call to the provider, and with a guess at a state.
    guesser = [throttle.of_address(request.META.get("REMOTE_ADDR", ""))]
    wait = throttle.take(guesser)
    try:
        if wait:
            raise Refused("throttled", "too many failed", log_in.hold(wait))
        kept = _read(request)
        claims = id_token.verify(
            provider.exchange(_code(request), kept["verifier"], _back()),
            provider.kept.keys,
            issuer=settings.OIDC_ISSUER,
            client=settings.OIDC_CLIENT_ID,
            nonce=kept["nonce"],
            acr_values=tuple(settings.OIDC_ACR_VALUES),
        )
        wanted = people.roles_of(claims, settings.OIDC_ROLES_CLAIM, settings.OIDC_ROLES)
        user = people.admit(claims, wanted, settings.OIDC_ISSUER)
    except Refused as error:
        return _forget(refuse(request, error))
    throttle.forgive(guesser)
    metrics.SIGN_ONS.labels(result="in").inc()
    log_in.enter(request, user, by="single sign-on", factor=Way.SIGN_ON)
    return _forget(HttpResponseRedirect(kept["to"]))


def refuse(request: HttpRequest, error: Refused) -> HttpResponse:
    """Back to the log-in page, with a sentence; why it was is ours to know."""
    metrics.SIGN_ONS.labels(result=error.why).inc()
    event(logger, "sign_on_refused", logging.WARNING, why=error.why, detail=error.detail)
    log_ins.refused({"username": "single sign-on"})
    messages.error(request, error.said or _("Single sign-on did not work. Try again, or ask an administrator."))
    return HttpResponseRedirect(reverse("admin:login"))


def log_out_address() -> str:
    """Where the provider ends its own session; empty where it says nothing of it."""
    found = provider.kept.known() if is_on() else None
    if found is None or not found.end_session:
        return ""
    asked = {"client_id": settings.OIDC_CLIENT_ID, "post_logout_redirect_uri": links.address("admin:login")}
    return f"{found.end_session}{'&' if '?' in found.end_session else '?'}{urlencode(asked)}"


def _read(request: HttpRequest) -> dict[str, str]:
    """What begin() kept. Raises Refused."""
    try:
        kept: dict[str, str] = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=SECONDS)
    except signing.BadSignature:
        raise Refused("state", "no log-in was begun in this browser, or it took too long") from None
    said = request.GET.get("state", "")
    if not hmac.compare_digest(said.encode("utf-8", "replace"), kept["state"].encode()):
        raise Refused("state", "the state is not that of this browser")
    return kept


def _code(request: HttpRequest) -> str:
    """Raises Refused."""
    said = request.GET.get("iss")
    if said != settings.OIDC_ISSUER and (said is not None or provider.kept.provider().says_issuer):
        raise Refused("state", "another provider sent the browser back")
    if "error" in request.GET:
        raise Refused("provider", f"it says {log_ins.claimed_name(request.GET['error'])!r}")
    code = request.GET.get("code", "")
    if not code:
        raise Refused("provider", "it sent no code")
    return code


def _back() -> str:
    return links.address("admin:sign_on_done")


def _wanted(request: HttpRequest) -> str:
    to = request.POST.get(REDIRECT_FIELD_NAME, "")
    is_ours = url_has_allowed_host_and_scheme(to, {request.get_host()}, require_https=request.is_secure())
    return to if is_ours else reverse("admin:index")


def _forget(response: HttpResponse) -> HttpResponse:
    response.delete_cookie(COOKIE, path=reverse("admin:login"), samesite="Lax")
    return response
