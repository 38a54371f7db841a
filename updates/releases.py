"""A release's life: import, approve, publish, withdraw. Each leaves who, when, what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, Forbidden, NotFound
from dmr_project.lib.sentences import Sentence
from participants import history
from updates import manifest, news, rollouts, signatures
from updates.models import Release, Signature

State = Release.State
_WITHDRAWN = Sentence("%(release)s was withdrawn")


class NoSuchRelease(NotFound):
    code = "no-such-release"
    title = "There is no such release"


class ReleaseConflict(Conflict):
    code = "release-conflict"
    title = "Another release is in the way"


class WrongState(Conflict):
    code = "wrong-release-state"
    title = "The release is not in the state for this"


class OwnWork(Forbidden):
    code = "own-work"
    title = "Nobody approves what they wrote"


def find(version: str) -> Release:
    """Raises NoSuchRelease."""
    row = Release.objects.filter(version=version).first()
    if row is None:
        raise NoSuchRelease(gettext("There is no release %(version)s.") % {"version": version})
    return row


def import_manifest(content: bytes, signed: Iterable[Mapping[str, Any]], user: User) -> Release:
    """Stores a manifest as a draft, with its signatures, each `{"keyId", "signature"}` and checked at once.

    The same manifest again adds the signatures that are new, until it is published.
    Raises BadManifest, BadSignature, ReleaseConflict, WrongState.
    """
    parsed = manifest.parse(content)
    actor = user.get_username()
    with history.atomic():
        release = _same(parsed) or _insert(parsed, user)
        if release.state not in (State.DRAFT, State.APPROVED):
            raise WrongState(
                gettext("%(release)s is %(state)s: no more signatures are taken.")
                % {"release": release, "state": release.get_state_display().lower()}
            )
        for number, each in enumerate(signed, 1):
            key = signatures.check_one(parsed.canonical, each, f"signature {number}")
            _, is_new = Signature.objects.get_or_create(
                release=release, key=key, defaults={"signature": each["signature"]}
            )
            if is_new:
                history.record("sign", release, actor, after={"key": key.key_id, "person": key.person.get_username()})
    return release


def approve(release: Release, user: User, reason: str = "") -> None:
    """By somebody else than its author. Raises OwnWork, WrongState."""
    with history.atomic():
        stored = _locked(release)
        if stored.author_id == user.pk:
            raise OwnWork(
                gettext("%(stored)s was written by %(user)s: somebody else must approve it.")
                % {"stored": stored, "user": user.get_username()}
            )
        _move(stored, (State.DRAFT,), State.APPROVED, user, reason=reason, approver=user, approved_at=timezone.now())


def publish(release: Release, user: User, reason: str = "") -> None:
    """From now on it may be rolled out, and nothing of it changes. Raises WrongState, NotEnoughSignatures."""
    with history.atomic():
        stored = _locked(release)
        if stored.state != State.APPROVED:
            raise _wrong(stored, State.PUBLISHED, (State.APPROVED,))
        signatures.check(stored)
        newer = Release.objects.published().filter(sequence__gt=stored.sequence).order_by("-sequence").first()
        if newer is not None:
            raise ReleaseConflict(
                gettext(
                    "%(newer)s with sequence %(sequence)s is published: agents would refuse "
                    "%(sequence2)s as a downgrade."
                )
                % {"newer": newer, "sequence": newer.sequence, "sequence2": stored.sequence}
            )
        _move(stored, (State.APPROVED,), State.PUBLISHED, user, reason=reason, published_at=timezone.now())
        news.published(stored)


def withdraw(release: Release, user: User, reason: str = "") -> None:
    """No Instance gets it from now on; its rollout is aborted. Raises WrongState."""
    with history.atomic():
        stored = _locked(release)
        rollouts.abort_all(stored, actor=user.get_username(), reason=_WITHDRAWN(release=stored))
        states = (State.DRAFT, State.APPROVED, State.PUBLISHED)
        _move(stored, states, State.WITHDRAWN, user, reason=reason, withdrawn_at=timezone.now())


def _same(parsed: manifest.Manifest) -> Release | None:
    """The release with exactly this manifest, locked. Raises ReleaseConflict where its version is taken."""
    found = Release.objects.select_for_update().filter(version=parsed.version).first()
    if found is not None and found.digest != parsed.digest:
        raise ReleaseConflict(
            gettext("There is a release %(version)s with another manifest; choose a new version.")
            % {"version": parsed.version}
        )
    return found


def _insert(parsed: manifest.Manifest, user: User) -> Release:
    highest = Release.objects.aggregate(Max("sequence"))["sequence__max"] or 0
    if parsed.sequence <= highest:
        raise ReleaseConflict(
            gettext("The manifest's sequence is %(sequence)s; it must be above the last, %(highest)s.")
            % {"sequence": parsed.sequence, "highest": highest}
        )
    release = Release(
        version=parsed.version,
        sequence=parsed.sequence,
        severity=parsed.severity,
        notes_et=parsed.notes("et"),
        notes_en=parsed.notes("en"),
        manifest=parsed.canonical,
        digest=parsed.digest,
        author=user,
    )
    try:
        with transaction.atomic():
            release.save(force_insert=True)
    except IntegrityError:
        raise ReleaseConflict(
            gettext("Somebody imported %(version)s at the same time; look, and try again.")
            % {"version": parsed.version}
        ) from None
    history.record("import", release, user.get_username(), after=_facts(release))
    return release


def _facts(release: Release) -> dict[str, Any]:
    return {name: value for name, value in history.facts(release).items() if name != "manifest"}


def _locked(release: Release) -> Release:
    return Release.objects.select_for_update(of=("self",)).get(pk=release.pk)


def _wrong(release: Release, wish: State, needed: tuple[State, ...]) -> WrongState:
    """One sentence for each wish: the words of another language bend in their own ways."""
    refused = {
        State.APPROVED: gettext("%(release)s is %(state)s; only this can be approved: %(needed)s."),
        State.PUBLISHED: gettext("%(release)s is %(state)s; only this can be published: %(needed)s."),
        State.WITHDRAWN: gettext("%(release)s is %(state)s; only this can be withdrawn: %(needed)s."),
    }
    allowed = ", ".join(str(each.label).lower() for each in needed)
    return WrongState(
        refused[wish] % {"release": release, "state": release.get_state_display().lower(), "needed": allowed}
    )


def _move(
    release: Release, sources: tuple[State, ...], state: State, user: User, *, reason: str = "", **columns: Any
) -> None:
    before = _facts(release)
    if not Release.objects.filter(pk=release.pk, state__in=sources).update(state=state, **columns):
        raise _wrong(release, state, sources)
    release.refresh_from_db()
    action = {State.APPROVED: "approve", State.PUBLISHED: "publish", State.WITHDRAWN: "withdraw"}[state]
    history.record(action, release, user.get_username(), before=before, after=_facts(release), reason=reason)
