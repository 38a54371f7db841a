"""The second factor of a log-in: an authenticator app's code, or one of ten recovery codes.

Whoever has set it up is asked at each log-in with a password. Who must set it up says DMR_REQUIRE_SECOND_FACTOR:
until they have, they see no other page (staff.middleware). No code counts twice.
"""

from __future__ import annotations

import base64
import secrets

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dmr_project.lib import sealing
from dmr_project.lib.errors import Conflict, InvalidInput
from participants import history, keys
from staff import accounts, metrics, totp
from staff.models import RecoveryCode, SecondFactor
from staff.sessions import Standing

RECOVERY_CODES = 10
RECOVERY_BYTES = 10  # of chance in each: enough that a hash without salt or stretching does


class Way(models.TextChoices):
    """How somebody proved that they are who they say, besides a password."""

    CODE = "code", gettext_lazy("an authenticator app's code")
    RECOVERY = "recovery code", gettext_lazy("a recovery code")
    SIGN_ON = "sign-on", gettext_lazy("the provider of single sign-on, which asks as it sees fit")


class AlreadySetUp(Conflict):
    code = "second-factor-set-up"
    title = "The account has a second factor"


class WrongCode(InvalidInput):
    code = "wrong-code"
    title = "The code is wrong"


def is_required(now: Standing) -> bool:
    """Of somebody with these roles, by DMR_REQUIRE_SECOND_FACTOR. A superuser has every role."""
    asked = set(settings.REQUIRE_SECOND_FACTOR)
    if asked == {"off"}:
        return False
    return "all" in asked or now.is_superuser or bool(asked & now.roles)


def set_up(user: User, secret: bytes, typed: str) -> list[str]:
    """From now on the secret's codes are asked for. Returns the recovery codes, which are shown once.

    Raises WrongCode where the app shows other codes, AlreadySetUp.
    """
    step = totp.matching_step(secret, _digits(typed), timezone.now().timestamp(), after=-1)
    if step is None:
        raise WrongCode(_("That is not the code. Is the clock of your telephone right?"))
    with history.atomic():
        row, is_new = SecondFactor.objects.get_or_create(
            user=user, defaults={"sealed_secret": sealing.seal(secret, _context(user)), "last_step": step}
        )
        if not is_new:
            raise AlreadySetUp(_("The second factor has been set up already."))
        accounts.note("set up second factor", user, user.get_username())
        return _new_recovery_codes(row)


def check(user: User, typed: str) -> Way:
    """Uses the code up. Raises WrongCode, CannotUnseal. How often somebody may try is staff.throttle's business."""
    row = SecondFactor.objects.filter(user=user).first()
    way = _matching(row, typed) if row is not None else None  # None: it was taken away just now
    if way is None:
        metrics.CODES.labels(result="refused").inc()
        # Whoever gets here knows the password: each time is worth an entry, and the throttle bounds them.
        accounts.note("code refused", user, history.NOBODY)
        raise WrongCode(_("That is not the code, or it was used already: wait for the next one."))
    metrics.CODES.labels(result=way.value).inc()
    return way


def _matching(row: SecondFactor, typed: str) -> Way | None:
    secret = sealing.unseal(row.sealed_secret, _context(row.user))
    step = totp.matching_step(secret, _digits(typed), timezone.now().timestamp(), row.last_step)
    if step is not None:
        # Of two at once with the same code one is right.
        is_first = SecondFactor.objects.filter(pk=row.pk, last_step__lt=step).update(last_step=step)
        return Way.CODE if is_first else None
    with history.atomic():
        unused = RecoveryCode.objects.filter(second_factor=row, digest=_digest(typed), used_at=None)
        if not unused.update(used_at=timezone.now()):
            return None
        accounts.note("use recovery code", row.user, row.user.get_username(), after={"left": codes_left(row)})
    return Way.RECOVERY


def renew_recovery_codes(user: User, typed: str) -> list[str]:
    """The old ones count no more. Returns the new ones, which are shown once. Raises WrongCode, CannotUnseal."""
    check(user, typed)
    with history.atomic():
        row = SecondFactor.objects.select_for_update().get(user=user)
        RecoveryCode.objects.filter(second_factor=row).delete()
        accounts.note("renew recovery codes", user, user.get_username())
        return _new_recovery_codes(row)


def take_away(user: User, *, actor: str) -> None:
    """For somebody who has neither app nor recovery code. Sessions end; where it is required, they set up anew."""
    with history.atomic():
        if SecondFactor.objects.filter(user=user).delete()[0]:
            accounts.advance_epoch(user)
            accounts.note("take away second factor", user, actor)


def codes_left(row: SecondFactor) -> int:
    return RecoveryCode.objects.filter(second_factor=row, used_at=None).count()


def reseal() -> int:
    """Encrypts under the present DMR_SECRET_KEY what still is under a fallback. Returns how many.

    What cannot be read stays: it keeps its owner out, who can be helped, and not everybody.
    """
    count = 0
    for row in SecondFactor.objects.select_related("user"):
        if not sealing.is_current(row.sealed_secret):
            try:
                secret = sealing.unseal(row.sealed_secret, _context(row.user))
            except sealing.CannotUnseal:
                continue
            sealed = sealing.seal(secret, _context(row.user))
            same = SecondFactor.objects.filter(pk=row.pk, sealed_secret=row.sealed_secret)
            count += same.update(sealed_secret=sealed)
    return count


def _new_recovery_codes(row: SecondFactor) -> list[str]:
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(RecoveryCode(second_factor=row, digest=_digest(code)) for code in codes)
    return codes


def _recovery_code() -> str:
    """Four times four letters and digits."""
    written = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode("ascii").lower()
    return "-".join(written[start : start + 4] for start in range(0, len(written), 4))


def _digest(typed: str) -> str:
    return keys.digest("".join(character for character in typed.lower() if character.isalnum()))


def _digits(typed: str) -> str:
    """Some apps show a space in the middle."""
    return "".join(typed.split())


def _context(user: User) -> str:
    return f"second factor of user {user.pk}"
