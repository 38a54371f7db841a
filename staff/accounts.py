"""Staff accounts: who there is, with which roles. Every act is one transaction and leaves an entry in the audit log.

Nobody does this to their own account, and to a superuser's nobody but a superuser: an administrator hands out what
they do not have themselves, and cannot take what they were not given.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db.models import F
from django.utils.translation import gettext as _

from dmr_project.lib.errors import Conflict, Forbidden
from participants import history
from staff import roles, throttle
from staff.models import Account

PASSWORD_BYTES = 12  # of chance in a password that we make


class OwnAccount(Forbidden):
    code = "own-account"
    title = "Nobody changes their own account"


class SuperuserAccount(Forbidden):
    code = "superuser-account"
    title = "Only superusers change the account of a superuser"


class NoPassword(Conflict):
    code = "no-password"
    title = "The account has no password"


def facts(user: User) -> dict[str, Any]:
    """What the audit log says of an account."""
    return {
        "username": user.get_username(),
        "name": user.get_full_name(),
        "email": user.email,
        "active": user.is_active,
        "roles": roles_of(user),
    }


def roles_of(user: User) -> list[str]:
    return sorted(user.groups.values_list("name", flat=True))


def add(user: User, wanted: Iterable[str], *, actor: User) -> str:
    """Saves a new account with these roles. Returns its password, which is shown once and must be changed."""
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with history.atomic():
        user.is_staff = True
        user.set_password(password)
        user.save(force_insert=True)
        user.groups.set(_groups(wanted))
        Account.objects.create(user=user, must_change_password=True)
        note("add account", user, actor.get_username(), after=facts(user))
    return password


def change(user: User, wanted: Iterable[str], *, actor: User) -> None:
    """Saves a changed account with these roles. What it loses, its sessions lose at once: they end.

    Raises OwnAccount, SuperuserAccount.
    """
    check_may_change(user, actor)
    with history.atomic():
        stored = User.objects.select_for_update().get(pk=user.pk)
        before = facts(stored)
        user.save(update_fields=["first_name", "last_name", "email", "is_active"])
        # Groups that are no roles were given by somebody else in some other way, and are left alone.
        others = user.groups.exclude(name__in=roles.ROLES)
        user.groups.set([*_groups(wanted), *others])
        after = facts(user)
        if before == after:
            return
        if set(before["roles"]) - set(after["roles"]) or not user.is_active:
            advance_epoch(user)
        note("change account", user, actor.get_username(), before=before, after=after)


def reset_password(user: User, *, actor: User) -> str:
    """Returns a new password, which is shown once and must be changed. Sessions end.

    Raises OwnAccount, SuperuserAccount.
    """
    check_may_change(user, actor)
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with history.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        Account.objects.update_or_create(user=user, defaults={"must_change_password": True})
        advance_epoch(user)
        note("reset password", user, actor.get_username())
    return password


def own_password_changed(user: User) -> None:
    """Its other sessions are over by themselves: Django binds each to the password."""
    with history.atomic():
        Account.objects.filter(user=user).update(must_change_password=False)
        note("change password", user, user.get_username())


def end_sessions(user: User, *, actor: str) -> None:
    """Whoever is logged in as this user is asked to log in again, at the next page."""
    with history.atomic():
        advance_epoch(user)
        note("end sessions", user, actor)


def let_in(user: User, *, actor: str) -> None:
    """Takes back what strangers' failed log-ins cost unknown browsers of this account."""
    with history.atomic():
        throttle.forgive([throttle.of_account(user.get_username())])
        note("let in again", user, actor)


def speaks(user: User, language: str) -> None:
    """What they chose in the admin: mails to them are in it from now on."""
    if language in dict(settings.LANGUAGES):
        Account.objects.update_or_create(user=user, defaults={"language": language})


def check_may_change(user: User, actor: User) -> None:
    """Raises OwnAccount, SuperuserAccount."""
    if user.pk == actor.pk:
        raise OwnAccount(_("Nobody changes their own account: somebody else must."))
    if user.is_superuser and not actor.is_superuser:
        raise SuperuserAccount(_("Only a superuser changes the account of a superuser."))


def note(action: str, user: User, actor: str, **said: Any) -> None:
    """An entry in the audit log about this account."""
    history.note(action, actor, kind="user", subject=user.get_username(), subject_id=str(user.pk), **said)


def _groups(names: Iterable[str]) -> list[Group]:
    return list(Group.objects.filter(name__in=set(names) & roles.ROLES.keys()))


def advance_epoch(user: User) -> None:
    """Within a transaction: every session of the user is over."""
    if not Account.objects.filter(user=user).update(session_epoch=F("session_epoch") + 1):
        Account.objects.create(user=user, session_epoch=1)
