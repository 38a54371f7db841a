"""The registry's capabilities. Each is one transaction, leaves a Change, and counts for the very next request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, Forbidden, InvalidInput, NotFound
from participants import announcements, dependence, directory, endpoint_terms, history, keys, names, statuses
from participants.models import ApiKey, Institution, Membership, Participant, Room
from participants.scopes import write as write_scopes

Row = TypeVar("Row", Institution, Participant, Room)

BATCH = 500  # rows of a statement
KEY_LENGTHS = (12, 50)  # of a key that staff choose themselves; the network's contract


class NameTaken(Conflict):
    code = "name-taken"
    title = "The name is taken"


class StillInUse(Conflict):
    code = "still-in-use"
    title = "Something still depends on it"


class SuspendedByStaff(Forbidden):
    code = "suspended"
    title = "Suspended by staff"


class NotLetIn(Forbidden):
    code = "pending"
    title = "Not let into the network yet"


class WrongStatus(Conflict):
    code = "wrong-status"
    title = "The participant's status does not allow this"


def check(row: Institution | Participant | Room, *, but: Collection[str] = ()) -> None:
    """Raises InvalidInput, which names each bad field. `but`: fields that are checked otherwise."""
    try:
        row.clean_fields(exclude=set(but))
    except ValidationError as error:
        errors = [{"field": field, "detail": " ".join(messages)} for field, messages in error.message_dict.items()]
        raise InvalidInput("; ".join(f"{each['field']} {each['detail']}" for each in errors), errors=errors) from None


def add(row: Row, *, actor: str) -> Row:
    """Saves a new institution or room. Raises InvalidInput, NameTaken."""
    check(row)
    with history.atomic():
        _insert(row)
        history.record("add", row, actor, after=history.facts(row))
    return row


def register(participant: Participant, *, actor: str, key: str | None = None) -> str:
    """Saves a new participant, lets it into the room `national`, and returns its key in clear: the only time.

    `key` is one that staff chose, of 12 to 50 printable ASCII characters. Raises InvalidInput, NameTaken.
    """
    with history.atomic():
        enrol(participant, actor=actor)
        _, clear = issue_key(participant, actor=actor, key=key)
        if participant.status != Participant.Status.PENDING:  # it is told when it is let in
            announcements.registered(participant)
    return clear


def enrol(participant: Participant, *, actor: str) -> None:
    """Saves a new participant without a key, and lets it into the room `national`. Raises InvalidInput, NameTaken."""
    enrol_all([participant], actor=actor)


def enrol_all(participants: Sequence[Participant], *, actor: str) -> None:
    """The same for many, in few statements: all of them, or none."""
    for participant in participants:
        check(participant, but=("institution",))  # which _hold() does at once
    with history.atomic():
        _hold(participant.institution for participant in participants)
        try:
            with transaction.atomic():
                Participant.objects.bulk_create(participants, batch_size=BATCH)
        except IntegrityError:
            wished = [participant.name for participant in participants]
            taken = Participant.objects.present().filter(name__in=wished).order_by("name")
            raise _name_taken(taken.values_list("name", flat=True).first() or wished[0]) from None
        room = _national()
        members = [Membership(room=room, participant=participant) for participant in participants]
        Membership.objects.bulk_create(members, batch_size=BATCH)
        for participant in participants:
            after = {**history.facts(participant), "rooms": [names.NATIONAL]}
            history.record("register", participant, actor, after=after)


def update(row: Row, *, actor: str, reason: str = "", but: Collection[str] = ()) -> Row:
    """Saves a changed institution, participant or room, but for some fields, which stay as they are stored.

    Raises InvalidInput, NameTaken, Forbidden, WrongStatus.
    """
    check(row)
    with history.atomic():
        model: Any = type(row)
        # Messages to it are accepted meanwhile: their rows refer to its key, which stays.
        stored = model.objects.select_for_update(no_key=True).get(pk=row.pk)
        if isinstance(row, Participant) and row.institution_id != stored.institution_id:
            _hold([row.institution])
        _save(stored, row, actor, reason, but)
    return row


def update_all(
    participants: Sequence[Participant], *, actor: str, reason: str = "", but: Collection[str] = ()
) -> None:
    """The same for many participants, in fewer statements: all of them, or none. Raises as update() does."""
    for participant in participants:
        check(participant, but=("institution",))  # which _hold() does at once
    with history.atomic():
        rows = Participant.objects.select_for_update(no_key=True).order_by("pk")
        stored = rows.in_bulk([participant.pk for participant in participants])
        _hold(
            each.institution
            for each in participants
            if each.pk in stored and each.institution_id != stored[each.pk].institution_id
        )
        for participant in participants:
            _save(stored[participant.pk], participant, actor, reason, but)


def _save(stored: Any, row: Any, actor: str, reason: str, but: Collection[str]) -> None:
    """Writes what differs from what is `stored`, which is locked. What it raises must undo the transaction."""
    if getattr(stored, "deleted_at", None) is not None:
        raise NotFound(gettext("%(stored)s was deleted.") % {"stored": stored})
    for name in but:
        setattr(row, name, getattr(stored, name))
    before, after = history.facts(stored), history.facts(row)
    changed = [name for name in after if before[name] != after[name]]
    if not changed:
        return
    if isinstance(row, Participant):
        if stored.name == names.RELAY:
            raise Forbidden(
                gettext("%(relay)s is this relay's own entry; its endpoint follows DMR_PUBLIC_URL.")
                % {"relay": names.RELAY}
            )
        changed += _follow(stored, row, reason)
        after = history.facts(row)
    try:
        row.save(update_fields=changed)
    except IntegrityError:
        raise _name_taken(row.name) from None
    history.record("change", row, actor, before=before, after=after, reason=reason)


def _follow(stored: Participant, row: Participant, reason: str) -> list[str]:
    """What else a changed status changes on `row`: names of columns. Raises WrongStatus."""
    if row.status == stored.status:
        return []
    if not statuses.may_follow(stored.status, row.status):
        raise WrongStatus(
            gettext("%(stored)s is %(status)s, and cannot become %(wished)s this way.")
            % {"stored": stored, "status": stored.get_status_display(), "wished": row.get_status_display()}
        )
    columns = statuses.columns(stored, row.status, reason, None)
    for name, value in columns.items():
        setattr(row, name, value)
    return list(columns)


def change_participant(
    participant: Participant, *, actor: str, key: str | None = None, but: Collection[str] = ()
) -> None:
    """Saves a changed participant (see update), and gives it `key` as one more unless it has that already.

    Raises InvalidInput, NameTaken, Forbidden, Conflict.
    """
    with history.atomic():
        update(participant, actor=actor, but=but)
        if key is not None and not participant.keys.valid().filter(digest=keys.digest(key)).exists():
            issue_key(participant, actor=actor, key=key)


def set_status(
    participants: Iterable[Participant], status: str, *, actor: str, reason: str = "", until: datetime | None = None
) -> int:
    """Gives each the status, which counts at once, unless it cannot follow its own (see statuses.FOLLOWS).

    `until`: when a suspension ends by itself. Returns how many changed.
    """
    return len(move(participants, status, actor=actor, reason=reason, until=until))


def move(
    participants: Iterable[Participant], status: str, *, actor: str, reason: str = "", until: datetime | None = None
) -> list[Participant]:
    """The same; returns those that changed."""
    changed = []
    with history.atomic():
        for stored in _locked(participants):
            if (stored.status, stored.suspended_until) == (status, until):
                continue
            if not statuses.may_follow(stored.status, status):
                continue
            before = history.facts(stored)
            columns = statuses.columns(stored, status, reason, until)
            for name, value in columns.items():
                setattr(stored, name, value)
            stored.save(update_fields=list(columns))
            history.record("change", stored, actor, before=before, after=history.facts(stored), reason=reason)
            if before["status"] == Participant.Status.PENDING and stored.status == Participant.Status.ACTIVE:
                announcements.registered(stored)
            changed.append(stored)
    return changed


def _locked(participants: Iterable[Participant]) -> QuerySet[Participant]:
    """As they are now, but for our own entry, which nobody changes; in the order of keys, as everybody locks them."""
    ids = [participant.pk for participant in participants]
    rows = Participant.objects.present().filter(pk__in=ids).exclude(name=names.RELAY)
    return rows.select_for_update().order_by("pk")


def set_success_statuses(participants: Iterable[Participant], statuses: str, *, actor: str, reason: str = "") -> int:
    """Which answers of theirs mean success, from the next attempt on. Returns how many changed."""
    names.validate_statuses(statuses)
    return _set_on_each(participants, "success_statuses", statuses, actor=actor, reason=reason)


def _set_on_each(participants: Iterable[Participant], field: str, value: str, *, actor: str, reason: str = "") -> int:
    changed = 0
    with history.atomic():
        for stored in _locked(participants):
            if getattr(stored, field) == value:
                continue
            before = history.facts(stored)
            setattr(stored, field, value)
            stored.save(update_fields=[field])
            history.record("change", stored, actor, before=before, after=history.facts(stored), reason=reason)
            changed += 1
    return changed


def set_own_status(participant_id: int, status: str) -> Participant:
    """What a participant says of itself: Active or Disabled. Raises InvalidInput, SuspendedByStaff, NotLetIn."""
    if status not in (Participant.Status.ACTIVE, Participant.Status.DISABLED):
        raise InvalidInput(
            gettext('The state must be "Active" or "Disabled", not %(said)r.') % {"said": status[:100]}
        )
    with history.atomic():
        stored = own_row(participant_id)
        set_status([stored], status, actor=history.participant(stored.name))
        stored.refresh_from_db()
    return stored


def set_own_delivery_mode(participant_id: int, mode: str) -> Participant:
    """How a participant wants its messages: push or pull. Raises InvalidInput, SuspendedByStaff, NotLetIn."""
    if mode not in Participant.DeliveryMode.values:
        detail = f'must be "push" or "pull", not {mode[:100]!r}'
        raise InvalidInput(f"mode {detail}", errors=[{"field": "mode", "detail": detail}])
    with history.atomic():
        stored = own_row(participant_id)
        _set_on_each([stored], "delivery_mode", mode, actor=history.participant(stored.name))
        stored.refresh_from_db()
    return stored


def set_own_announcements(participant_id: int, wanted: str) -> Participant:
    """Of what a participant is told by messages from Dmr. Raises InvalidInput, SuspendedByStaff."""
    if wanted not in Participant.Announcements.values:
        detail = f"must be one of {', '.join(Participant.Announcements.values)}, not {wanted[:100]!r}"
        raise InvalidInput(
            f"announcements {detail}",
            errors=[{"field": "announcements", "detail": detail}],
        )
    with history.atomic():
        stored = own_row(participant_id)
        _set_on_each([stored], "announcements", wanted, actor=history.participant(stored.name))
        stored.refresh_from_db()
    return stored


def own_row(participant_id: int) -> Participant:
    """Locked, for what a participant says of itself. Raises SuspendedByStaff, NotLetIn."""
    stored = Participant.objects.present().select_for_update().get(pk=participant_id)
    if stored.status == Participant.Status.PENDING:
        raise NotLetIn(gettext("Staff have not let this participant into the network yet."))
    if stored.status == Participant.Status.SUSPENDED:
        raise SuspendedByStaff(gettext("Staff have suspended this participant; only they can lift it."))
    return stored


def remove_unused_participant(participant: Participant, *, actor: str, reason: str = "") -> None:
    """Deletes it if nothing depends on it. Raises StillInUse, Forbidden."""
    found = dependence.on(participant)
    if found:
        raise StillInUse(
            gettext("%(participant)s: %(found)s. Revoke it, or wait.")
            % {"participant": participant, "found": "; ".join(found)}
        )
    remove_participant(participant, actor=actor, reason=reason)


def remove_participant(participant: Participant, *, actor: str, reason: str = "") -> None:
    """Deletes it whatever depends on it: its name is free, its keys are void, what waits for it is a dead letter."""
    with history.atomic():
        stored = Participant.objects.select_for_update().get(pk=participant.pk)
        if stored.is_relay:
            raise Forbidden(gettext("%(relay)s is this relay's own entry.") % {"relay": names.RELAY})
        if stored.deleted_at is not None:
            return
        before = history.facts(stored)
        stored.status = Participant.Status.DELETED
        stored.deleted_at = timezone.now()
        stored.terms_version = 0
        stored.save(update_fields=["status", "deleted_at", "terms_version"])
        endpoint_terms.forget(stored)
        before["rooms"] = sorted(stored.rooms.values_list("name", flat=True))
        stored.memberships.all().delete()
        for key in stored.keys.filter(revoked_at=None):
            revoke_key(key, actor=actor)
        history.record("delete", stored, actor, before=before, after=history.facts(stored), reason=reason)


def remove_institution(institution: Institution, *, actor: str, reason: str = "") -> None:
    """Deletes it. Raises StillInUse while it has participants."""
    with history.atomic():
        stored = Institution.objects.select_for_update().get(pk=institution.pk)
        dependants = stored.participants.present().count()
        if dependants:
            raise StillInUse(
                gettext("%(stored)s still has participants (%(count)s); delete or move them first.")
                % {"stored": stored, "count": dependants}
            )
        if stored.deleted_at is not None:
            return
        before = history.facts(stored)
        stored.deleted_at = timezone.now()
        stored.save(update_fields=["deleted_at"])
        history.record("delete", stored, actor, before=before, after=history.facts(stored), reason=reason)


def issue_key(
    participant: Participant,
    *,
    actor: str,
    key: str | None = None,
    note: str = "",
    expires_at: datetime | None = None,
    scopes: Iterable[str] = (),
    predecessor: ApiKey | None = None,
    rotation: str = "",
) -> tuple[ApiKey, str]:
    """One more key, beside those it has. Returns the row and the key in clear, which is not kept.

    `scopes`: what it is for, none: everything. `predecessor` and `rotation`: see key_rotation. Raises InvalidInput
    (a chosen key of the wrong form), Conflict (one that is in use).
    """
    if participant.is_relay:
        raise Forbidden(
            gettext("%(relay)s is this relay's own entry: nobody else speaks for it.") % {"relay": names.RELAY}
        )
    if participant.status in statuses.VOID:
        raise Forbidden(
            gettext("%(participant)s is %(status)s: it gets a key when it is reinstated.")
            % {"participant": participant, "status": participant.get_status_display().lower()}
        )
    if key is not None and not _may_be_chosen(key):
        detail = f"must have {KEY_LENGTHS[0]} to {KEY_LENGTHS[1]} printable ASCII characters, no space at either end"
        raise InvalidInput(f"apiKey {detail}", errors=[{"field": "apiKey", "detail": detail}])
    clear = keys.generate() if key is None else key
    with history.atomic():
        row = ApiKey(
            participant=participant,
            digest=keys.digest(clear),
            hint=clear[:4],
            note=note,
            expires_at=expires_at,
            scopes=write_scopes(scopes),
            predecessor=predecessor,
            rotation=rotation,
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise Conflict(gettext("This key is in use; choose another, or none and get one made.")) from None
        history.record("issue key", row, actor, after=history.facts(row))
    return row, clear


def _may_be_chosen(key: str) -> bool:
    """HTTP drops spaces at the ends; and the staff key is nobody else's."""
    is_written_well = key.isascii() and key.isprintable() and key == key.strip()
    return KEY_LENGTHS[0] <= len(key) <= KEY_LENGTHS[1] and is_written_well and not keys.is_staff_key(key)


def revoke_key(key: ApiKey, *, actor: str, reason: str = "") -> bool:
    """Makes the key void at once. False where it was already."""
    with history.atomic():
        now = timezone.now()
        if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
            return False
        before = history.facts(key)
        key.revoked_at = now
        history.record("revoke key", key, actor, before=before, after=history.facts(key), reason=reason)
    return True


def ensure_own_entries() -> None:
    """The room `national` and our own entry `dmr-relay`, whose endpoint follows DMR_PUBLIC_URL."""
    with history.atomic():
        _national()
        host = directory.relay_host()
        found = Participant.objects.present().filter(name=names.RELAY).first()
        if found is None:
            institution, is_new = Institution.objects.present().get_or_create(name="Core")
            if is_new:
                history.record("add", institution, history.SYSTEM, after=history.facts(institution))
            found = Participant(institution=institution, name=names.RELAY, type=Participant.Type.DMR, host=host)
            found.save()
            history.record("register", found, history.SYSTEM, after=history.facts(found))
        elif found.host != host:
            before = history.facts(found)
            found.host = host
            found.save(update_fields=["host"])
            history.record("change", found, history.SYSTEM, before=before, after=history.facts(found))


def _national() -> Room:
    """The room that everybody is in; made where it is not there yet."""
    room, is_new = Room.objects.get_or_create(
        name=names.NATIONAL, defaults={"description": "Everybody, from registration on."}
    )
    if is_new:
        history.record("add", room, history.SYSTEM, after=history.facts(room))
    return room


def _hold(institutions: Iterable[Institution]) -> None:
    """Keeps them from being deleted meanwhile. Raises InvalidInput where one is gone."""
    wanted = {each.pk: each for each in institutions}
    if not wanted:
        return
    rows = Institution.objects.present().filter(pk__in=wanted).select_for_update().order_by("pk")
    for key in wanted.keys() - set(rows.values_list("pk", flat=True)):
        detail = f"{wanted[key]} was deleted"
        raise InvalidInput(detail, errors=[{"field": "institutionId", "detail": detail}])


def _insert(row: Institution | Participant | Room) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise _name_taken(row.name) from None


def _name_taken(name: str) -> NameTaken:
    return NameTaken(gettext("The name %(name)r is taken.") % {"name": name})
