"""Certificates that people paste: read with messages that say what to mend, and made into a TLS context."""

from __future__ import annotations

import secrets
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.utils.translation import gettext

from dmr_project.lib.errors import InvalidInput


class BadCertificate(InvalidInput):
    code = "bad-certificate"
    title = "A certificate or key cannot be used"


@dataclass(frozen=True)
class Seen:
    """What is shown of a certificate."""

    name: str
    fingerprint: str  # SHA-256, hex
    expires_at: datetime

    def __str__(self) -> str:
        return f"{self.name}, SHA-256 {self.fingerprint}, until {self.expires_at:%Y-%m-%d %H:%M} UTC"


def seen(certificate: x509.Certificate) -> Seen:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else certificate.subject.rfc4514_string() or "no name"
    return Seen(name, certificate.fingerprint(hashes.SHA256()).hex(), certificate.not_valid_after_utc)


def read(pem: str, now: datetime) -> list[x509.Certificate]:
    """The certificates in `pem`, one at least, each valid now. Raises BadCertificate."""
    if "PRIVATE KEY-----" in pem:
        raise BadCertificate(gettext("There is a private key in it. It must hold certificates alone."))
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        names = [seen(each).name for each in found]
    except ValueError:
        raise BadCertificate(
            gettext(
                "It is not a certificate in PEM form: text from -----BEGIN CERTIFICATE----- to "
                "-----END CERTIFICATE-----."
            )
        ) from None
    for name, each in zip(names, found, strict=True):
        begins, ends = each.not_valid_before_utc, each.not_valid_after_utc
        if ends <= now:
            raise BadCertificate(
                gettext("The certificate of %(name)s expired on %(ends)s.")
                % {"name": name, "ends": f"{ends:%Y-%m-%d}"}
            )
        if begins > now:
            raise BadCertificate(
                gettext("The certificate of %(name)s is not valid before %(begins)s UTC.")
                % {"name": name, "begins": f"{begins:%Y-%m-%d %H:%M}"}
            )
    return found


def seen_in(pem: str) -> list[Seen]:
    """Of what was read before."""
    return [seen(each) for each in x509.load_pem_x509_certificates(pem.encode())] if pem else []


def write(certificates: Sequence[x509.Certificate]) -> str:
    """In PEM form, without what stood between them."""
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode("ascii") for each in certificates)


def check_client(chain: Sequence[x509.Certificate], key: str) -> None:
    """May the first of `chain` be shown to a server, and is `key` its private key? Raises BadCertificate."""
    name = seen(chain[0]).name
    if not _is_for_clients(chain[0]):
        raise BadCertificate(
            gettext("The certificate of %(name)s is not for clients (its extended key usage).") % {"name": name}
        )
    try:
        private_key = serialization.load_pem_private_key(key.encode(), password=None)
    except TypeError:
        raise BadCertificate(
            gettext(
                "The private key is protected by a passphrase. Take that off (openssl pkey -in FILE) "
                "and enter it again."
            )
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate(
            gettext(
                "It is not a private key in PEM form: text from -----BEGIN PRIVATE KEY----- to "
                "-----END PRIVATE KEY-----."
            )
        ) from None
    try:
        belongs = [_raw(private_key.public_key()) == _raw(each.public_key()) for each in chain]
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate(gettext("The key of a certificate is of a kind that DMR does not know.")) from None
    if not any(belongs):
        raise BadCertificate(
            gettext("The private key does not belong to the certificate of %(name)s.") % {"name": name}
        )
    if not belongs[0]:
        raise BadCertificate(
            gettext("The certificate of the private key must come first, those that signed it after.")
        )


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """Where it does not say what it is for, it is for everything."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return bool({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*usage})


def _raw(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def client_context(authority: str, chain: str, key: str) -> ssl.SSLContext:
    """How we speak TLS to one endpoint. It is believed if `authority` vouches for it, and nobody else; where that is
    empty, the system's authorities. `chain` and `key` are what we show; both empty: nothing. Raises BadCertificate.
    """
    try:
        return _context(authority, chain, key)
    except ssl.SSLError as error:
        raise BadCertificate(
            gettext("OpenSSL does not take it: %(reason)s.") % {"reason": error.reason or "for no reason given"}
        ) from None


def _context(authority: str, chain: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority or None)
    if authority:
        # Also the endpoint's own certificate may be given, and one without the extensions that only newer
        # Pythons ask for.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    if chain:
        _show(context, chain, key)
    return context


def _show(context: ssl.SSLContext, chain: str, key: str) -> None:
    """Python's ssl takes a private key from a file only: it lies there encrypted, for a moment."""
    password = secrets.token_bytes(24).hex()
    encrypted = serialization.load_pem_private_key(key.encode(), password=None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    with tempfile.NamedTemporaryFile(prefix="dmr-") as file:
        file.write(encrypted + b"\n" + chain.encode())
        file.flush()
        context.load_cert_chain(file.name, password=password)
