"""Claims: the link by which an Instance's side fetches its key, once. The key itself never travels by mail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext as _

from dmr_project.lib.errors import Forbidden, InvalidInput
from dmr_project.lib.sentences import Sentence
from participants import announcements, history, keys, letters, links, names, registry, statuses
from participants.models import ActorKind, Claim, Language, Participant

LIFETIME = timedelta(days=14)
BATCH = 500  # rows of a statement
FETCHED = Sentence("fetched by its link")()
CLAIMANT = history.Actor("claim link", ActorKind.UNKNOWN)  # whoever has it


def offer(participant: Participant, *, actor: str, language: str = Language.ESTONIAN) -> Claim:
    """Mails its technical contact a link to a key. One that was mailed before opens nothing any more.

    Raises InvalidInput where nobody's address is known, Forbidden.
    """
    return offer_all([participant], actor=actor, language=language)[0]


def offer_all(participants: Sequence[Participant], *, actor: str, language: str = Language.ESTONIAN) -> list[Claim]:
    """The same for many, in few statements: to all of them, or to none."""
    for participant in participants:
        _check(participant)
    now = timezone.now()
    made = [links.new() for _participant in participants]
    with history.atomic():
        waiting = Claim.objects.filter(participant__in=participants, claimed_at=None, revoked_at=None)
        waiting.update(revoked_at=now)
        rows = [
            Claim(participant=participant, token_digest=digest, language=language, expires_at=now + LIFETIME)
            for participant, (_token, digest) in zip(participants, made, strict=True)
        ]
        Claim.objects.bulk_create(rows, batch_size=BATCH)
        for row in rows:
            _note("offer key", row, actor)
        letters.claims(
            (row, links.address("join:claim", token)) for row, (token, _digest) in zip(rows, made, strict=True)
        )
    return rows


def _check(participant: Participant) -> None:
    if participant.is_relay or participant.status in statuses.VOID:
        raise Forbidden(
            gettext("%(participant)s gets no key: it is %(relay)s, or was deleted or revoked.")
            % {"participant": participant, "relay": names.RELAY}
        )
    if not (participant.technical_email or participant.contact_email):
        detail = gettext("%(participant)s has no contact with an e-mail address; write one on its page.") % {
            "participant": participant
        }
        raise InvalidInput(detail, errors=[{"field": "technical_email", "detail": detail}])


def find(token: str) -> Claim:
    """Whose link it is. Uses nothing up. Raises NoSuchLink, LinkGone."""
    row = Claim.objects.select_related("participant__institution").filter(token_digest=keys.digest(token)).first()
    if row is None:
        raise links.NoSuchLink(_("There is no such link. Is it as long as in our mail?"))
    if not row.is_open:
        raise gone()
    return row


def claim(row: Claim) -> str:
    """A new key of the participant in clear: the only time. Raises LinkGone where somebody was first."""
    now = timezone.now()
    with history.atomic():
        if not Participant.objects.present().select_for_update().filter(pk=row.participant_id).first():
            raise gone()
        # Columns of its own alone: with a join, PostgreSQL would not look again after waiting for somebody else.
        is_open = Claim.objects.filter(pk=row.pk, claimed_at=None, revoked_at=None, expires_at__gt=now)
        if not is_open.update(claimed_at=now):
            raise gone()
        _note("claim", row, CLAIMANT)
        is_first = not row.participant.keys.exists()
        _key, clear = registry.issue_key(row.participant, actor=CLAIMANT, note=FETCHED)
        if is_first:
            announcements.registered(row.participant)
    return clear


def gone() -> links.LinkGone:
    return links.LinkGone(
        _("This link was used, has expired, or was replaced by a newer one. If you have no key, ask us for another.")
    )


def _note(action: str, row: Claim, actor: str) -> None:
    participant = row.participant
    history.note(
        action,
        actor,
        kind="participant",
        subject=participant.name,
        subject_id=str(participant.public_id),
        institution=participant.institution,
    )
