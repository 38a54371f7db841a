"""What applicants are told by mail, in the language that they chose. No key is ever in a letter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone, translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from participants import mail
from participants.models import Application, Claim, Invitation, Language, Participant

SIGNED = _("Bürokratt's central team")


def invitation(row: Invitation, link: str) -> None:
    post(
        row.email,
        row.language,
        _("You are invited to join Bürokratt's network"),
        _("You are invited to join Bürokratt's network of chatbots. Fill in the form here, once, until %(until)s:"),
        "%(link)s",
        _("If you did not expect this, do nothing."),
        link=link,
        until=day(row.expires_at),
    )


def received(row: Application, link: str) -> None:
    _to_applicant(
        row,
        _("Your application was received: %(name)s"),
        _("We have received the application of %(name)s (%(institution)s) to join Bürokratt's network."),
        _("Here you see how it stands, and can withdraw it; keep this link to yourself:"),
        "%(link)s",
        _("If you did not apply, withdraw it there."),
        link=link,
    )


def in_review(row: Application) -> None:
    _to_applicant(
        row,
        _("Your application is in review: %(name)s"),
        _("We are looking at the application of %(name)s (%(institution)s), and tell you when it is decided."),
        _("The link in our first mail shows how it stands."),
    )


def approved(row: Application) -> None:
    _to_applicant(
        row,
        _("Your application was approved: %(name)s"),
        _("The application of %(name)s (%(institution)s) was approved: it is in Bürokratt's network now."),
        _("To speak there it needs its key. The link to it goes in a mail of its own to %(technical)s."),
    )


def rejected(row: Application) -> None:
    _to_applicant(
        row,
        _("Your application was rejected: %(name)s"),
        _("The application of %(name)s (%(institution)s) was rejected, for this reason:"),
        "%(reason)s",
        _("You may apply again once that is mended."),
    )


def withdrawn(row: Application) -> None:
    _to_applicant(
        row,
        _("Your application was withdrawn: %(name)s"),
        _("The application of %(name)s (%(institution)s) was withdrawn. You may apply again at any time."),
    )


def claims(rows: Iterable[tuple[Claim, str]]) -> None:
    """Each with its link."""
    mail.post_all(_claim(row, link) for row, link in rows)


def _claim(row: Claim, link: str) -> mail.Written:
    participant = row.participant
    return written(
        participant.technical_email or participant.contact_email,
        row.language,
        _("Fetch the key of %(name)s"),
        _("%(name)s (%(institution)s) needs a key to speak in Bürokratt's network. Fetch it here until %(until)s:"),
        "%(link)s",
        _("The key is shown once: have the place at hand where it goes. Keep this link to yourself until then."),
        name=participant.name,
        institution=participant.institution.name,
        link=link,
        until=day(row.expires_at),
    )


def _to_applicant(row: Application, subject: Promise, *paragraphs: Promise | str, **facts: Any) -> None:
    post(
        row.contact_email,
        row.language,
        subject,
        *paragraphs,
        name=row.name,
        institution=row.institution_name,
        reason=row.reason,
        technical=row.technical_email,
        **facts,
    )


def language_of(participant: Participant) -> str:
    """The one it last chose, as an applicant or for its key; Estonian where it never has."""
    newest = participant.claims.first()
    return newest.language if newest else Language.ESTONIAN


def post(to: str, language: str, subject: Promise | str, *paragraphs: Promise | str, **facts: Any) -> None:
    mail.post_all([written(to, language, subject, *paragraphs, **facts)])


def written(to: str, language: str, subject: Promise | str, *paragraphs: Promise | str, **facts: Any) -> mail.Written:
    with translation.override(language):
        greeting, *said = (str(each) for each in (_("Hello,"), *paragraphs, SIGNED))
        text = "\n\n".join([greeting, *(each % facts for each in said)])
        return mail.Written(to, str(subject) % facts, f"{text}\n")


def day(moment: Any) -> str:
    return f"{timezone.localtime(moment):%d.%m.%Y}"
