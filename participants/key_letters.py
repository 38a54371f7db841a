"""What a participant's contacts are told of its API keys by mail. Never a key."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from participants import letters
from participants.letters import day
from participants.models import ApiKey


def expires(row: ApiKey, to: str, *, is_replaced: bool) -> None:
    """That it ends soon, and what to do. `is_replaced`: its successor works already."""
    assert row.expires_at is not None
    used = _("It was last used on %(used)s, from %(place)s.") if row.last_used_at else _("It was never used.")
    if is_replaced:
        advice = _("A newer key of %(name)s is there already: give that one to whatever still uses this one.")
    else:
        advice = _(
            "Have the participant replace it by itself (POST %(keys)s, described at %(docs)s), or ask us for a link "
            "to a new one. The old one goes on working until it expires."
        )
    letters.post(
        to,
        letters.language_of(row.participant),
        _("A key of %(name)s expires on %(until)s"),
        _("The API key of %(name)s (%(institution)s) that begins with %(hint)s expires on %(until)s."),
        _("What uses it can neither send nor fetch messages from then on."),
        used,
        advice,
        name=row.participant.name,
        institution=row.participant.institution.name,
        hint=row.hint,
        until=day(row.expires_at),
        used=day(row.last_used_at) if row.last_used_at else "",
        place=row.last_used_from or "–",
        keys=f"{settings.PUBLIC_URL}/api/v1/keys",
        docs=f"{settings.PUBLIC_URL}/api/docs/",
    )
