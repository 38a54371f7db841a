"""Between the two steps of a log-in: the password was right, and the code is still to come.

Kept in the session, which is nobody's yet.
"""

from __future__ import annotations

import hmac

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone

KEY = "dmr_halfway"
SECONDS = 300  # to find the telephone


def begin(request: HttpRequest, user: User, to: str) -> None:
    """`to`: the page to show in the end."""
    request.session.flush()  # a new key for what has become worth something
    at = timezone.now().timestamp()
    request.session[KEY] = {"user": user.pk, "password": user.get_session_auth_hash(), "at": at, "to": to}


def of(request: HttpRequest) -> tuple[User, str] | None:
    """Who has come half the way, and where to they want; None where nobody has, or it took too long."""
    kept = request.session.get(KEY)
    if kept is None or timezone.now().timestamp() - kept["at"] >= SECONDS:
        return None
    user = User.objects.filter(pk=kept["user"], is_active=True, is_staff=True).first()
    if user is None or not hmac.compare_digest(user.get_session_auth_hash(), kept["password"]):
        return None
    return user, kept["to"]


def end(request: HttpRequest) -> None:
    request.session.pop(KEY, None)
