"""Public keys as JSON Web Keys (RFC 7517, RFC 7518, RFC 8037), read strictly. Pure.

What is kept of one are the members of its public key, and `kid`, `use`, `alg`; others are left out, as RFC 7517 has
it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from dmr_project.lib.errors import InvalidInput

PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
LEAST_BITS, MOST_BITS = 2048, 8192  # of an RSA key
LONGEST_KID = 128

_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {  # and the octets of a coordinate
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
    "P-521": (ec.SECP521R1(), 66),
}
_AGREEMENT = ("ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW")
_RSA_SIGNS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_RSA_ENCRYPTS = ("RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512")
# What a key can be used for: the key's kind → use → its algorithms.
ALGORITHMS: dict[str, dict[str, tuple[str, ...]]] = {
    "RSA": {"sig": _RSA_SIGNS, "enc": _RSA_ENCRYPTS},
    "P-256": {"sig": ("ES256",), "enc": _AGREEMENT},
    "P-384": {"sig": ("ES384",), "enc": _AGREEMENT},
    "P-521": {"sig": ("ES512",), "enc": _AGREEMENT},
    "Ed25519": {"sig": ("EdDSA", "Ed25519")},
    "X25519": {"enc": _AGREEMENT},
}


class PrivateKeySent(InvalidInput):
    code = "private-key"
    title = "This is a private key"


@dataclass(frozen=True)
class PublicJwk:
    """A key that was found good."""

    members: dict[str, str]  # kty and what makes the key: what the thumbprint is made of
    kind: str  # RSA, or its curve
    kid: str
    use: str  # sig, enc, or empty: not said
    alg: str  # or empty: not said

    @property
    def thumbprint(self) -> str:
        """RFC 7638, SHA-256."""
        written = json.dumps(self.members, sort_keys=True, separators=(",", ":"))
        return _encode(hashlib.sha256(written.encode()).digest())


def read(said: Any) -> PublicJwk:
    """Raises InvalidInput, which says what is wrong; PrivateKeySent where it is more than a public key."""
    if not isinstance(said, dict):
        raise _bad("jwk", "must be a JSON Web Key: an object with kty")
    private = sorted(name for name in PRIVATE if name in said)
    kty = said.get("kty")
    if private or kty == "oct":
        raise PrivateKeySent(
            f"The key holds what must stay secret ({', '.join(private) or 'kty oct'}). Nothing of it was kept, but "
            "it has left its place: make a new pair, and send the public half alone.",
            errors=[{"field": f"jwk.{name}", "detail": "is private"} for name in private],
        )
    if kty == "RSA":
        members, kind = _rsa(said), "RSA"
    elif kty == "EC":
        members, kind = _elliptic(said)
    elif kty == "OKP":
        members, kind = _octets(said)
    else:
        raise _bad("jwk.kty", "must be RSA, EC or OKP")
    use, alg = _use_and_algorithm(said, kind)
    kid = said.get("kid")
    found = PublicJwk(members, kind, "", use, alg)
    if kid is None:
        kid = found.thumbprint
    if not isinstance(kid, str) or not re.fullmatch(rf"[!-~]{{1,{LONGEST_KID}}}", kid):
        raise _bad("jwk.kid", f"must be 1 to {LONGEST_KID} printable ASCII characters without spaces")
    return PublicJwk(members, kind, kid, use, alg)


def pem(members: Mapping[str, str]) -> str:
    """An RSA key as PEM (SubjectPublicKeyInfo)."""
    numbers = rsa.RSAPublicNumbers(_whole(members["e"]), _whole(members["n"]))
    written = numbers.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return written.decode("ascii")


def _rsa(said: dict[str, Any]) -> dict[str, str]:
    modulus, exponent = (int.from_bytes(_octets_of(said, name), "big") for name in ("n", "e"))
    if not LEAST_BITS <= modulus.bit_length() <= MOST_BITS:
        raise _bad("jwk.n", f"has {modulus.bit_length()} bits; {LEAST_BITS} to {MOST_BITS} are taken")
    if not (2**16 < exponent < 2**256 and exponent % 2):
        raise _bad("jwk.e", "must be odd and above 65536, such as AQAB")
    try:
        rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise _bad("jwk.n", "is no modulus of an RSA key") from None
    return {"kty": "RSA", "n": _minimal(modulus), "e": _minimal(exponent)}


def _elliptic(said: dict[str, Any]) -> tuple[dict[str, str], str]:
    name = said.get("crv")
    if not isinstance(name, str) or name not in _CURVES:
        raise _bad("jwk.crv", f"must be one of {', '.join(_CURVES)} for kty EC")
    curve, size = _CURVES[name]
    x, y = (_octets_of(said, each, size) for each in ("x", "y"))
    try:
        ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve).public_key()
    except ValueError:
        raise _bad("jwk.x", f"and y are no point of {name}") from None
    return {"kty": "EC", "crv": name, "x": _encode(x), "y": _encode(y)}, name


def _octets(said: dict[str, Any]) -> tuple[dict[str, str], str]:
    name = said.get("crv")
    if name not in ("Ed25519", "X25519"):
        raise _bad("jwk.crv", "must be Ed25519 or X25519 for kty OKP")
    x = _octets_of(said, "x", 32)
    try:
        if name == "Ed25519":
            Ed25519PublicKey.from_public_bytes(x)
        else:
            # Refuses points of low order, with which every secret would be the same.
            X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(x))
    except ValueError:
        raise _bad("jwk.x", f"is no key of {name}") from None
    return {"kty": "OKP", "crv": str(name), "x": _encode(x)}, str(name)


def _use_and_algorithm(said: dict[str, Any], kind: str) -> tuple[str, str]:
    """As they were said; where the one follows from the other or from the kind, that."""
    use, alg, known = said.get("use"), said.get("alg"), ALGORITHMS[kind]
    if use is not None and (not isinstance(use, str) or use not in known):
        raise _bad("jwk.use", f"must be {' or '.join(known)} for {kind}")
    fitting = {each: of for of, algorithms in known.items() if use in (None, of) for each in algorithms}
    if alg is not None and (not isinstance(alg, str) or alg not in fitting):
        raise _bad("jwk.alg", f"must be one of {', '.join(fitting)} for {kind}{f' and use {use}' if use else ''}")
    if use is None:
        use = fitting[alg] if alg is not None else next(iter(known)) if len(known) == 1 else ""
    return use, alg or ""


def _octets_of(said: dict[str, Any], name: str, size: int = 0) -> bytes:
    """A base64url member, of exactly `size` octets where that is given."""
    written = said.get(name)
    if not isinstance(written, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", written) or len(written) % 4 == 1:
        raise _bad(f"jwk.{name}", "must be base64url, without padding")
    found = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4))
    if size and len(found) != size:
        raise _bad(f"jwk.{name}", f"must have {size} octets, not {len(found)}")
    return found


def _whole(written: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)), "big")


def _minimal(number: int) -> str:
    return _encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bad(field: str, detail: str) -> InvalidInput:
    return InvalidInput(f"{field} {detail}", errors=[{"field": field, "detail": detail}])
