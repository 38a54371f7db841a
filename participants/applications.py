"""Applications to join: received, reviewed, approved or rejected; withdrawn by the applicant.

Each step is one transaction with a guarded UPDATE, an entry in the audit log, and a mail to the applicant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext as _

from dmr_project.lib.errors import Conflict, DomainError, Forbidden, InvalidInput
from participants import claims, history, invitations, keys, letters, links, metrics, registry
from participants.models import ActorKind, Application, Institution, Invitation, Participant

State = Application.State

OURS = {"invitation", "entered_by", "reviewed_by", "decided_by", "decided_at", "participant"}  # not the applicant's
MOST_OPEN_OF_ONE = 5  # of strangers with the same contact
MOST_OPEN = 500  # of strangers together
APPLICANT = history.Actor("applicant", ActorKind.UNKNOWN)  # whoever filled in the public form, or has its link


class AlreadyApplied(Conflict):
    code = "already-applied"
    title = "There is one already"


class TooManyOpen(DomainError):
    status = 429
    code = "too-many-applications"
    title = "Too many applications wait"


class WrongState(Conflict):
    code = "wrong-application-state"
    title = "The application is not in the state for this"


class OwnApplication(Forbidden):
    code = "own-application"
    title = "Nobody decides on what they entered"


def apply(
    application: Application, *, invitation: Invitation | None = None, entered_by: User | None = None
) -> Application:
    """Saves a new application: of a stranger, of somebody invited, or typed in by a member of staff.

    Who invited counts as who entered it. Raises InvalidInput, AlreadyApplied, TooManyOpen, LinkGone.
    """
    application.technical_name = application.technical_name or application.contact_name
    application.technical_email = application.technical_email or application.contact_email
    token, application.token_digest = links.new()
    application.invitation = invitation
    application.entered_by = entered_by or (invitation.invited_by if invitation else None)
    _check(application)
    with history.atomic():
        if invitation is not None:
            invitations.take_up(invitation)
        _refuse_double(application)
        if application.entered_by is None:
            _refuse_floods(application)
        try:
            with transaction.atomic():
                application.save(force_insert=True)
        except IntegrityError:
            raise AlreadyApplied(_("The same was sent at the same time. Look for our mail.")) from None
        _note("apply", application, entered_by.get_username() if entered_by else APPLICANT)
        letters.received(application, links.address("join:status", token))
    metrics.APPLICATIONS.labels(step="received").inc()
    return application


def find(token: str) -> Application:
    """Whose link it is. Raises NoSuchLink."""
    row = Application.objects.filter(token_digest=keys.digest(token)).first()
    if row is None:
        raise links.NoSuchLink(_("There is no such application. Is the link as long as in our mail?"))
    return row


def begin_review(application: Application, user: User) -> None:
    """Tells the applicant that somebody looks at it. Raises WrongState."""
    with history.atomic():
        stored = _move(application, (State.RECEIVED,), State.IN_REVIEW, reviewed_by=user)
        _note("begin review", stored, user.get_username())
        letters.in_review(stored)


def approve(application: Application, user: User) -> Participant:
    """Makes the institution (unless it is there), the participant in the room `national`, and its claim link.

    By somebody who had no hand in it. Raises OwnApplication, WrongState, NameTaken, InvalidInput.
    """
    actor = user.get_username()
    with history.atomic():
        stored = _locked(application)
        _refuse_own(stored, user)
        _refuse_ended(stored)
        participant = Participant(
            institution=_institution(stored.institution_name, actor),
            name=stored.name,
            type=stored.type,
            host=stored.host,
            contact_name=stored.contact_name,
            contact_email=stored.contact_email,
            technical_name=stored.technical_name,
            technical_email=stored.technical_email,
        )
        registry.enrol(participant, actor=actor)
        now = timezone.now()
        stored = _move(
            stored, Application.OPEN, State.APPROVED, decided_by=user, decided_at=now, participant=participant
        )
        _note("approve", stored, actor)
        letters.approved(stored)
        claims.offer(participant, actor=actor, language=stored.language)
    return participant


def reject(application: Application, user: User, reason: str) -> None:
    """Tells the applicant why. Raises OwnApplication, WrongState, InvalidInput without a reason."""
    reason = reason.strip()
    if not reason or len(reason) > 500:
        detail = _("Write why, in at most 500 characters: the applicant is told.")
        raise InvalidInput(detail, errors=[{"field": "reason", "detail": detail}])
    with history.atomic():
        stored = _locked(application)
        _refuse_own(stored, user)
        now = timezone.now()
        stored = _move(stored, Application.OPEN, State.REJECTED, decided_by=user, decided_at=now, reason=reason)
        _note("reject", stored, user.get_username(), reason=reason)
        letters.rejected(stored)


def withdraw(application: Application) -> None:
    """The applicant has thought better of it. Raises WrongState."""
    with history.atomic():
        stored = _move(application, Application.OPEN, State.WITHDRAWN, decided_at=timezone.now())
        _note("withdraw", stored, APPLICANT)
        letters.withdrawn(stored)


def _check(application: Application) -> None:
    try:
        application.clean_fields(exclude=OURS)
    except ValidationError as error:
        errors = [{"field": field, "detail": " ".join(said)} for field, said in error.message_dict.items()]
        raise InvalidInput("; ".join(f"{each['field']} {each['detail']}" for each in errors), errors=errors) from None


def _refuse_double(application: Application) -> None:
    """Raises AlreadyApplied, which names each field that is in the way."""
    open_ones = Application.objects.filter(state__in=Application.OPEN)
    present = Participant.objects.present()
    errors = []
    if present.filter(name=application.name).exists():
        errors.append({"field": "name", "detail": _("is the name of a participant; choose another")})
    elif open_ones.filter(name=application.name).exists():
        errors.append({"field": "name", "detail": _("is in an application that is not decided yet")})
    if present.filter(host=application.host).exists():
        errors.append({"field": "host", "detail": _("is the endpoint of a participant")})
    elif open_ones.filter(host=application.host).exists():
        errors.append({"field": "host", "detail": _("is in an application that is not decided yet")})
    if errors:
        raise AlreadyApplied("; ".join(f"{each['field']} {each['detail']}" for each in errors), errors=errors)


def _refuse_floods(application: Application) -> None:
    """Anybody may write anybody's address into the form."""
    open_ones = Application.objects.filter(state__in=Application.OPEN, entered_by=None)
    of_one = open_ones.filter(contact_email__iexact=application.contact_email)
    if of_one.count() >= MOST_OPEN_OF_ONE or open_ones.count() >= MOST_OPEN:
        raise TooManyOpen(_("Too many applications wait for a decision. Wait for ours, or write to us."))


def _refuse_own(application: Application, user: User) -> None:
    if application.entered_by_id == user.pk:
        raise OwnApplication(
            gettext("%(application)s was entered by %(user)s, or by their invitation: somebody else must decide.")
            % {"application": application, "user": user.get_username()}
        )
    named = {application.contact_email.casefold(), application.technical_email.casefold()}
    if user.email and user.email.casefold() in named:
        raise OwnApplication(
            gettext("%(application)s names %(user)s as its contact: somebody else must decide.")
            % {"application": application, "user": user.get_username()}
        )


def _refuse_ended(application: Application) -> None:
    if not application.is_open:
        raise WrongState(
            gettext("%(application)s is %(state)s already.")
            % {"application": application, "state": application.get_state_display().lower()}
        )


def _institution(name: str, actor: str) -> Institution:
    found = Institution.objects.present().filter(name=name).first()
    return found or registry.add(Institution(name=name), actor=actor)


def _locked(application: Application) -> Application:
    return Application.objects.select_for_update().get(pk=application.pk)


def _move(application: Application, before: Iterable[str], after: State, **columns: Any) -> Application:
    """The guarded UPDATE of a step. Raises WrongState."""
    rows = Application.objects.filter(pk=application.pk, state__in=tuple(before))
    moved = rows.update(state=after, **columns)
    stored = Application.objects.get(pk=application.pk)
    if not moved:
        raise WrongState(_("Somebody was first: look how it stands now."))
    metrics.APPLICATIONS.labels(step=str(after.value)).inc()
    return stored


def _note(action: str, application: Application, actor: str, *, reason: str = "") -> None:
    """Without the contacts: the audit log is kept for long, and the application's row has them."""
    said = ("institution_name", "name", "type", "host", "state")
    history.note(
        action,
        actor,
        kind="application",
        subject=str(application),
        subject_id=str(application.public_id),
        institution=application.participant.institution if application.participant else None,
        after={name: str(getattr(application, name)) for name in said},
        reason=reason,
    )
