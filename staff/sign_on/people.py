"""Who comes in by single sign-on: the account of an identity, with the roles that the provider gives it now.

An identity is the provider's issuer with its subject there, and nothing else: neither a name nor an e-mail address
makes somebody the owner of an account that is there already. An administrator links it (`manage.py staff link`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import IntegrityError
from django.db.models import Q
from django.utils.translation import gettext as _

from dmr_project.lib.errors import Conflict
from participants import history
from participants.models import ActorKind
from staff import accounts, roles
from staff.models import Account, Identity
from staff.sign_on.errors import Refused

ACTOR = history.Actor("single sign-on", ActorKind.SYSTEM)
USERNAME = re.compile(r"[\w.@+-]{1,150}")


class IdentityTaken(Conflict):
    code = "identity-taken"
    title = "The identity or the account is linked already"


def roles_of(claims: Mapping[str, Any], claim: str, mapping: Mapping[str, list[str]]) -> list[str]:
    """The roles that a claim stands for, as the mapping says; without any mapping those of the same names.

    `claim` is a claim's name, or a path with dots into it (`realm_access.roles`). It holds a text or a list of them.
    """
    value: Any = claims.get(claim)
    if value is None:
        value = claims
        for part in claim.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    said = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    texts = {each for each in said if isinstance(each, str)}
    if mapping:
        texts = {role for each in texts for role in mapping.get(each, [])}
    return sorted(texts & roles.ROLES.keys())


def profile(claims: Mapping[str, Any]) -> dict[str, str]:
    """What an account says of its person. An address that the provider has not verified is none."""

    def text(name: str) -> str:
        value = claims.get(name)
        return "".join(each for each in value if each.isprintable())[:150] if isinstance(value, str) else ""

    email = text("email") if claims.get("email_verified") is True else ""
    return {"first_name": text("given_name"), "last_name": text("family_name"), "email": email}


def username(claims: Mapping[str, Any]) -> str:
    """For a new account: the first of these that can be one. Raises Refused."""
    for name in ("preferred_username", "email", "sub"):
        value = claims.get(name)
        if isinstance(value, str) and USERNAME.fullmatch(value):
            return value
    raise Refused("account", "none of preferred_username, email and sub can be a user name")


def admit(claims: Mapping[str, Any], wanted: list[str], issuer: str) -> User:
    """The account, with these roles and no others. Raises Refused."""
    identity = Identity.objects.select_related("user").filter(issuer=issuer, subject=claims["sub"]).first()
    if identity is None:
        if not wanted:
            raise _no_role(claims)
        return _new(claims, wanted, issuer)
    user = identity.user
    if not user.is_active or not user.is_staff:
        raise Refused("inactive", f"the account {user.get_username()} is not active")
    _update(user, claims, wanted)
    if not wanted:
        raise _no_role(claims)
    return user


def link(user: User, issuer: str, subject: str, actor: str) -> None:
    """From now on the identity opens this account. Raises IdentityTaken."""
    with history.atomic():
        if Identity.objects.filter(Q(user=user) | Q(issuer=issuer, subject=subject)).exists():
            raise IdentityTaken(_("One of them is linked already: unlink that first."))
        Identity.objects.create(user=user, issuer=issuer, subject=subject)
        accounts.note("link identity", user, actor, after={"issuer": issuer, "subject": subject})


def unlink(user: User, actor: str) -> None:
    """Single sign-on opens the account no more; its sessions end."""
    with history.atomic():
        if Identity.objects.filter(user=user).delete()[0]:
            accounts.advance_epoch(user)
            accounts.note("unlink identity", user, actor)


def _no_role(claims: Mapping[str, Any]) -> Refused:
    return Refused("role", f"{claims['sub']} has no role here", _("You have no role in DMR."))


def _new(claims: Mapping[str, Any], wanted: list[str], issuer: str) -> User:
    name, said = username(claims), profile(claims)
    alike = Q(username__iexact=name)
    if said["email"]:
        alike |= Q(email__iexact=said["email"])
    # Two accounts of one person could approve their own work.
    if User.objects.filter(alike).exists():
        raise Refused(
            "account",
            f"an account with the name or address of {name} is there and not linked to {claims['sub']}",
            _("There is an account of your name or e-mail address already: an administrator must link it first."),
        )
    try:
        with history.atomic():
            user = User(username=name, is_staff=True, **said)
            user.set_unusable_password()
            user.save(force_insert=True)
            user.groups.set(_groups(wanted))
            Account.objects.create(user=user)
            Identity.objects.create(user=user, issuer=issuer, subject=claims["sub"])
            accounts.note("add account", user, ACTOR, after=accounts.facts(user))
    except IntegrityError:  # the same person, at the same time
        raise Refused("account", f"two first log-ins of {name} at once", _("Try again.")) from None
    return user


def _update(user: User, claims: Mapping[str, Any], wanted: list[str]) -> None:
    with history.atomic():
        stored = User.objects.select_for_update().get(pk=user.pk)
        before = accounts.facts(stored)
        for name, value in profile(claims).items():
            if value:
                setattr(user, name, value)
        user.save(update_fields=["first_name", "last_name", "email"])
        user.groups.set([*_groups(wanted), *user.groups.exclude(name__in=roles.ROLES)])
        after = accounts.facts(user)
        if set(before["roles"]) - set(after["roles"]):
            accounts.advance_epoch(user)
        if before != after:
            accounts.note("change account", user, ACTOR, before=before, after=after)


def _groups(names: list[str]) -> list[Group]:
    return list(Group.objects.filter(name__in=names))
