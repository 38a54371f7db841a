"""Invitations: a link, by mail, with which somebody applies once."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone
from django.utils.translation import gettext as _

from dmr_project.lib.errors import InvalidInput
from participants import history, keys, letters, links
from participants.models import Invitation, Language

LIFETIME = timedelta(days=14)


def invite(email: str, user: User, *, language: str = Language.ESTONIAN) -> Invitation:
    """Mails somebody a link to the form. One that was mailed to the same address before opens nothing any more.

    Raises InvalidInput.
    """
    try:
        validate_email(email)
    except ValidationError:
        detail = _("%(email)r is no e-mail address") % {"email": email[:100]}
        raise InvalidInput(detail, errors=[{"field": "email", "detail": detail}]) from None
    token, digest = links.new()
    now = timezone.now()
    with history.atomic():
        for former in Invitation.objects.filter(email__iexact=email, used_at=None, revoked_at=None):
            revoke(former, user)
        row = Invitation.objects.create(
            email=email, language=language, token_digest=digest, invited_by=user, expires_at=now + LIFETIME
        )
        _note("invite", row, user.get_username())
        letters.invitation(row, links.address("join:invited", token))
    return row


def revoke(invitation: Invitation, user: User) -> bool:
    """The link opens nothing any more. False where it did not before."""
    with history.atomic():
        rows = Invitation.objects.filter(pk=invitation.pk, used_at=None, revoked_at=None)
        if not rows.update(revoked_at=timezone.now()):
            return False
        _note("revoke", invitation, user.get_username())
    return True


def find(token: str) -> Invitation:
    """Whose link it is. Uses nothing up. Raises NoSuchLink, LinkGone."""
    row = Invitation.objects.filter(token_digest=keys.digest(token)).first()
    if row is None:
        raise links.NoSuchLink(_("There is no such invitation. Is the link as long as in our mail?"))
    if not row.is_open:
        raise gone()
    return row


def take_up(invitation: Invitation) -> None:
    """It counts as used from here on, within the transaction of the application. Raises LinkGone."""
    now = timezone.now()
    rows = Invitation.objects.filter(pk=invitation.pk, used_at=None, revoked_at=None, expires_at__gt=now)
    if not rows.update(used_at=now):
        raise gone()


def gone() -> links.LinkGone:
    return links.LinkGone(
        _("This invitation was used, has expired, or was replaced by a newer one. Ask for another, or apply without.")
    )


def _note(action: str, invitation: Invitation, actor: str) -> None:
    history.note(
        action,
        actor,
        kind="invitation",
        subject=invitation.email,
        subject_id=str(invitation.pk),
        after={"expires_at": invitation.expires_at.isoformat()},
    )
