"""Staff who come and go, in the audit log. Django's own signals say so, whichever way somebody logs in."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import signals
from django.contrib.auth.models import AbstractBaseUser
from django.dispatch import receiver
from django.http import HttpRequest

from participants import failures, history, metrics

LONGEST_NAME = 50  # of what somebody typed as a name


@receiver(signals.user_logged_in)
def logged_in(user: AbstractBaseUser, request: HttpRequest | None = None, **_: Any) -> None:
    by = getattr(request, "logged_in_by", "")  # what they had to show, as the page of the log-in says
    _note("log in", user, **({"after": {"by": by}} if by else {}))


@receiver(signals.user_logged_out)
def logged_out(user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:
        _note("log out", user)


@receiver(signals.user_login_failed)
def refused(credentials: dict[str, Any], **_: Any) -> None:
    """Counted before it is noted: anybody can try without end."""
    metrics.LOG_INS_REFUSED.inc()
    failures.count(failures.LOG_IN, claimed_name(credentials.get("username")))


def claimed_name(written: object) -> str:
    """What somebody typed as a name, short and printable. Some type their password there: not all of it is kept."""
    text = written if isinstance(written, str) else ""
    return "".join(character if character.isprintable() else "�" for character in text[:LONGEST_NAME])


def denied(request: HttpRequest) -> None:
    """A member of staff asked for a page, or tried an act, that they may not."""
    user: Any = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        _note("denied", user, after={"method": request.method, "path": request.path[:200]})


def _note(action: str, user: AbstractBaseUser, **said: Any) -> None:
    name = user.get_username()
    history.note(action, name, kind="user", subject=name, subject_id=str(user.pk), **said)
