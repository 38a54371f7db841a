"""When a session of staff is over: idle, too old, ended by somebody, or its person has lost a role.

A log-in leaves a mark in its session, whichever way it came about. Every page of the admin compares the mark with how
things are now (staff.middleware), so that what ends a session need not find it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from staff.models import Account

MARK = "dmr_staff"
NOTED_EVERY = 60  # seconds: how exactly a session knows when it was last used


class End(models.TextChoices):
    """Why a session is over, and what its person is told."""

    IDLE = "idle", _("You were logged out because nothing was done for a while.")
    AGE = "age", _("You were logged out because this session had lasted long enough.")
    ENDED = "ended", _("You were logged out: your sessions were ended.")
    ROLES = "roles", _("You were logged out because your roles have changed.")
    FACTOR = "factor", _("Log in again, with the second factor that you have set up.")
    UNKNOWN = "unknown", _("Log in again.")


@dataclass(frozen=True)
class Standing:
    """How it is with a user now."""

    epoch: int
    roles: frozenset[str]
    is_superuser: bool
    must_change_password: bool
    has_second_factor: bool = False


def standing(user: User) -> Standing:
    """Reads it, in one query."""
    rows = list(
        User.objects.filter(pk=user.pk).values_list(
            "account__session_epoch", "account__must_change_password", "second_factor__since", "groups__name"
        )
    )
    return Standing(
        epoch=(rows[0][0] or 0) if rows else 0,
        roles=frozenset(row[3] for row in rows if row[3]),
        is_superuser=user.is_superuser,
        must_change_password=bool(rows and rows[0][1]),
        has_second_factor=bool(rows and rows[0][2]),
    )


def begin(session: SessionBase, user: User) -> None:
    """Marks a session that somebody has logged in with."""
    now = standing(user)
    at = timezone.now().timestamp()
    session[MARK] = {
        "began": at,
        "seen": at,
        "epoch": now.epoch,
        "roles": sorted(now.roles),
        "is_superuser": now.is_superuser,
        "factor": "",
    }


def note_factor(session: SessionBase, way: str) -> None:
    """Its person has proved who they are by more than a password."""
    session[MARK] = {**session[MARK], "factor": way}


def factor_of(session: SessionBase) -> str:
    """By what; empty where there was nothing but the password."""
    way: str = session.get(MARK, {}).get("factor", "")
    return way


def why_over(mark: Any, now: Standing, at: float) -> End | None:
    """Decides, from the session's mark, how it is with its user now, and the time."""
    if not isinstance(mark, dict):
        return End.UNKNOWN
    if mark["epoch"] != now.epoch:
        return End.ENDED
    if set(mark["roles"]) - now.roles or (mark["is_superuser"] and not now.is_superuser):
        return End.ROLES
    if now.has_second_factor and not mark.get("factor"):
        return End.FACTOR  # it was set up in another session
    if at - mark["began"] >= settings.SESSION_HOURS * 3600:
        return End.AGE
    if at - mark["seen"] >= settings.SESSION_IDLE_MINUTES * 60:
        return End.IDLE
    return None


def note_use(session: SessionBase, at: float) -> None:
    """Written at most once a minute, and not with every page."""
    mark = session[MARK]
    if at - mark["seen"] >= NOTED_EVERY:
        session[MARK] = {**mark, "seen": at}


def keep_through_end(session: SessionBase, user: User) -> None:
    """After the user ended their other sessions: this one goes on."""
    epoch = Account.objects.values_list("session_epoch", flat=True).get(user=user)
    session[MARK] = {**session[MARK], "epoch": epoch}


def forget() -> None:
    """Deletes the sessions that nobody can come back with."""
    engine: Any = import_module(settings.SESSION_ENGINE)
    engine.SessionStore.clear_expired()
