"""Terms on which a participant's endpoint is called: set by staff, told without secrets, kept by each process.

The row of a participant says the version of its terms, and 0 where it has none: so a delivery to an endpoint
without terms of its own asks nothing, and one to an endpoint with them asks once for each version.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.x509 import Certificate
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib import certificates, sealing
from dmr_project.lib.certificates import BadCertificate, Seen
from dmr_project.lib.errors import Forbidden, InvalidInput, NotFound
from dmr_project.lib.http import AddressGuard, Terms
from dmr_project.lib.sentences import Sentence
from participants import history, names
from participants.models import EndpointTerms, Participant

MOST_KEPT = 5_000

_UNREADABLE = Sentence("DMR cannot read the private key that is set for this endpoint; staff must enter it again")()
_BAD = Sentence("DMR cannot use the certificates that are set for this endpoint; staff must enter others")()


@dataclass(frozen=True)
class Given:
    """What staff enter. None leaves a thing as it is, an empty text takes it away."""

    allowed_networks: str | None = None
    authority: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None


@dataclass(frozen=True)
class Unusable:
    """The terms cannot be kept, so nothing is sent."""

    reason: str


def change(participant: Participant, given: Given, *, actor: str, reason: str = "") -> EndpointTerms:
    """Sets terms, which count for the next attempt. Raises InvalidInput, which names each bad field, Forbidden."""
    with history.atomic():
        stored = Participant.objects.select_for_update().get(pk=participant.pk)
        if stored.is_relay:
            raise Forbidden(
                gettext("%(relay)s is this relay's own entry; nothing is delivered to it.") % {"relay": names.RELAY}
            )
        if stored.deleted_at is not None:
            raise NotFound(gettext("%(stored)s was deleted.") % {"stored": stored})
        row = EndpointTerms.objects.filter(participant=stored).first() or EndpointTerms(participant=stored)
        before = told(row)
        _put(row, given)
        row.version += 1
        row.save()
        stored.terms_version = row.version if row.is_set else 0
        stored.save(update_fields=["terms_version"])
        after = told(row)
        if before != after:
            history.record("change endpoint terms", stored, actor, before=before, after=after, reason=reason)
    return row


def _put(row: EndpointTerms, given: Given) -> None:
    """Raises InvalidInput."""
    now = timezone.now()
    problems: list[dict[str, str]] = []
    if given.allowed_networks is not None:
        row.allowed_networks = given.allowed_networks.strip()
        with _naming("allowed_networks", problems):
            if row.allowed_networks:
                names.validate_private_networks(row.allowed_networks)
    if given.authority is not None:
        with _naming("authority", problems):
            written = given.authority.strip()
            row.authority = certificates.write(certificates.read(written, now)) if written else ""
            certificates.client_context(row.authority, "", "")
    chain, key = (given.client_certificate or "").strip(), (given.client_key or "").strip()
    if chain or key:
        _put_client(row, chain, key, problems)
    elif given.client_certificate is not None:
        row.client_certificate = row.sealed_key = ""
    if problems:
        said = "; ".join(f"{each['field']}: {each['detail']}" for each in problems)
        raise InvalidInput(said, errors=problems)
    row.expires_at = min((each.expires_at for each in (*authorities(row), *client(row))), default=None)


def _put_client(row: EndpointTerms, chain: str, key: str, problems: list[dict[str, str]]) -> None:
    """Certificate and key come together."""
    found: list[Certificate] = []
    with _naming("client_certificate", problems):
        if not chain:
            raise BadCertificate(gettext("The certificate of the private key must be entered with it."))
        found = certificates.read(chain, timezone.now())
    with _naming("client_key", problems):
        if not key:
            raise BadCertificate(gettext("The private key of the client certificate must be entered with it."))
        if found:
            certificates.check_client(found, key)
            row.client_certificate = certificates.write(found)
            certificates.client_context("", row.client_certificate, key)
            row.sealed_key = sealing.seal(key.encode(), _context(row.participant_id))


@contextmanager
def _naming(field: str, problems: list[dict[str, str]]) -> Iterator[None]:
    """What is wrong within is said of the field."""
    try:
        yield
    except BadCertificate as error:
        problems.append({"field": field, "detail": error.detail})
    except ValidationError as error:
        problems.append({"field": field, "detail": " ".join(error.messages)})


def authorities(row: EndpointTerms) -> list[Seen]:
    return certificates.seen_in(row.authority)


def client(row: EndpointTerms) -> list[Seen]:
    """The certificate that we show, and what signed it."""
    return certificates.seen_in(row.client_certificate)


def told(row: EndpointTerms) -> dict[str, str]:
    """For people and the history: no certificate in full, and nothing of the key."""
    return {
        "allowed_networks": row.allowed_networks,
        "authority": "; ".join(map(str, authorities(row))),
        "client_certificate": "; ".join(map(str, client(row))),
    }


def forget(participant: Participant) -> None:
    """It was deleted: nothing is kept, its private key least of all. Call it in the transaction of that."""
    EndpointTerms.objects.filter(participant=participant).delete()


def reseal() -> int:
    """Encrypts under the present DMR_SECRET_KEY what still is under a fallback. Returns how many.

    What cannot be read stays: it costs its endpoint the deliveries, not everybody the start.
    """
    count = 0
    for row in EndpointTerms.objects.exclude(sealed_key=""):
        if not sealing.is_current(row.sealed_key):
            try:
                key = sealing.unseal(row.sealed_key, _context(row.participant_id))
            except sealing.CannotUnseal:
                continue
            sealed = sealing.seal(key, _context(row.participant_id))
            count += EndpointTerms.objects.filter(pk=row.pk, sealed_key=row.sealed_key).update(sealed_key=sealed)
    return count


class Kept:
    """The terms that this process has used, each with a TLS context of its own."""

    def __init__(self) -> None:
        self._terms: dict[int, tuple[int, Terms]] = {}

    def of(self, participant_id: int, version: int) -> Terms | Unusable | None:
        """None where it has none. May ask the database."""
        if not version:
            return None
        found = self._terms.get(participant_id)
        if found is not None and found[0] == version:
            return found[1]
        row = EndpointTerms.objects.filter(pk=participant_id).first()
        made = _made(row) if row is not None else None  # deleted in this moment, and its recipient with it
        if isinstance(made, Terms):
            if len(self._terms) >= MOST_KEPT:
                self._terms.clear()
            self._terms[participant_id] = (version, made)
        return made


def _made(row: EndpointTerms) -> Terms | Unusable:
    networks = [ipaddress.ip_network(each.strip()) for each in row.allowed_networks.split(",") if each.strip()]
    guard = AddressGuard(settings.ALLOW_PRIVATE_ENDPOINTS, (*settings.ALLOWED_PRIVATE_NETWORKS, *networks))
    try:
        key = sealing.unseal(row.sealed_key, _context(row.participant_id)).decode() if row.sealed_key else ""
        return Terms(guard, certificates.client_context(row.authority, row.client_certificate, key))
    except sealing.CannotUnseal:
        return Unusable(_UNREADABLE)
    except (BadCertificate, OSError):
        return Unusable(_BAD)


def _context(participant_id: int) -> str:
    return f"client key of participant {participant_id}"
