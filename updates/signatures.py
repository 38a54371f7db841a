"""Whose signatures a release bears: ed25519 over its canonical bytes, with keys that are not withdrawn."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.utils.translation import gettext

from dmr_project.lib.errors import Forbidden, InvalidInput
from dmr_project.lib.sentences import Sentence
from updates.models import Release, StaffKey

# Sentences, since the pauses of rollouts keep them too.
SOME_SIGNED = Sentence(
    "%(release)s needs the valid signatures of %(threshold)s different people; only %(people)s signed it."
)
NOBODY_SIGNED = Sentence(
    "%(release)s needs the valid signatures of %(threshold)s different people; nobody signed it."
)
THRESHOLD = 2  # different people whose signatures a release needs


class BadSignature(InvalidInput):
    code = "bad-signature"
    title = "A signature does not hold"


class NotEnoughSignatures(Forbidden):
    code = "not-enough-signatures"
    title = "Too few people signed"


def check(release: Release) -> None:
    """Raises NotEnoughSignatures, naming who signed."""
    people = signers(release)
    if len(people) < THRESHOLD:
        said = {"release": release, "threshold": THRESHOLD, "people": ", ".join(sorted(people.values()))}
        raise NotEnoughSignatures(gettext((SOME_SIGNED if people else NOBODY_SIGNED).text) % said)


def signers(release: Release) -> dict[int, str]:
    """The people whose valid signatures it bears, name by id."""
    rows = release.signatures.filter(key__withdrawn_at=None).select_related("key__person")
    return {
        row.key.person_id: row.key.person.get_username()
        for row in rows
        if holds(row.key, row.signature, release.canonical)
    }


def holds(key: StaffKey, signature: str, content: bytes) -> bool:
    """Is `signature` (base64) this key's, over exactly these bytes?"""
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public_key))
        public.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def check_one(content: bytes, given: Mapping[str, Any], what: str) -> StaffKey:
    """The staff key that made the signature `{"keyId", "signature"}`. Raises BadSignature, beginning with `what`."""
    if not isinstance(given, Mapping):
        raise BadSignature(
            gettext('%(what)s must be {"keyId", "signature"}, as `dmr-agent release sign` prints it.')
            % {"what": what}
        )
    key_id, signature = given.get("keyId"), given.get("signature")
    if not isinstance(key_id, str) or not isinstance(signature, str):
        raise BadSignature(gettext("%(what)s: keyId and signature must be texts.") % {"what": what})
    key = StaffKey.objects.select_related("person").filter(key_id=key_id).first()
    if key is None:
        raise BadSignature(
            gettext("%(what)s: no staff key %(key)r is registered.") % {"what": what, "key": key_id[:64]}
        )
    if not key.is_valid:
        raise BadSignature(gettext("%(what)s: the key %(key)s was withdrawn.") % {"what": what, "key": key})
    if not holds(key, signature, content):
        raise BadSignature(
            gettext("%(what)s: it is not %(person)s's signature of this manifest.")
            % {"what": what, "person": key.person.get_username()}
        )
    return key
