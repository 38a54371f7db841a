"""Browsers with which somebody has logged in before. They bear a signed cookie that says so.

It gives no right at all, but that strangers' failures do not hold them up (staff.throttle).
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.crypto import salted_hmac

COOKIE = "dmr_known_browser"
SALT = "staff.known_browsers"
DAYS = 90
MOST_PEOPLE = 5  # who use one browser; beyond that the first ones are forgotten


def mark_of(request: HttpRequest, name: str) -> str:
    """What tells this browser from others that the account knows; empty where the account does not know it."""
    return _read(request).get(_whose(name), "")


def remember(request: HttpRequest, response: HttpResponse, name: str) -> None:
    """The account has logged in with this browser."""
    marks = _read(request)
    mark = marks.pop(_whose(name), "") or secrets.token_urlsafe(16)
    marks = dict([*marks.items(), (_whose(name), mark)][-MOST_PEOPLE:])
    response.set_cookie(
        COOKIE,
        signing.dumps(marks, salt=SALT),
        max_age=DAYS * 24 * 3600,
        path=reverse("admin:login"),
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )


def _read(request: HttpRequest) -> dict[str, str]:
    try:
        marks: dict[str, str] = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=DAYS * 24 * 3600)
    except signing.BadSignature:
        return {}
    return marks


def _whose(name: str) -> str:
    """Not the name itself: who shares the browser need not read it."""
    return salted_hmac(SALT, name, algorithm="sha256").hexdigest()[:16]
