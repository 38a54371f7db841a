"""Which JSON Web Keys are taken, and what is said of those that are not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from dmr_project.lib.errors import InvalidInput
from participants import jwk
from participants.jwk import PrivateKeySent

CURVES = {"P-256": (ec.SECP256R1(), 32), "P-384": (ec.SECP384R1(), 48), "P-521": (ec.SECP521R1(), 66)}
# RFC 7638, section 3.1.
OF_THE_RFC = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
    "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
    "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
    "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def whole(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def rsa_key(bits: int = 2048) -> dict[str, Any]:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    return {"kty": "RSA", "n": whole(numbers.n), "e": whole(numbers.e)}


def ec_key(name: str = "P-256") -> dict[str, Any]:
    curve, size = CURVES[name]
    numbers = ec.generate_private_key(curve).public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": name,
        "x": b64(numbers.x.to_bytes(size, "big")),
        "y": b64(numbers.y.to_bytes(size, "big")),
    }


def okp_key(name: str = "Ed25519") -> dict[str, Any]:
    private: Any = Ed25519PrivateKey.generate() if name == "Ed25519" else X25519PrivateKey.generate()
    return {"kty": "OKP", "crv": name, "x": b64(private.public_key().public_bytes_raw())}


@pytest.mark.parametrize(
    ("said", "kind", "use"),
    [
        (rsa_key(), "RSA", ""),
        (rsa_key(3072) | {"use": "enc", "alg": "RSA-OAEP-256"}, "RSA", "enc"),
        (rsa_key() | {"alg": "PS256"}, "RSA", "sig"),
        *((ec_key(name), name, "") for name in CURVES),
        (ec_key() | {"use": "sig", "alg": "ES256"}, "P-256", "sig"),
        (ec_key("P-384") | {"alg": "ECDH-ES+A256KW"}, "P-384", "enc"),
        (okp_key(), "Ed25519", "sig"),
        (okp_key("X25519") | {"alg": "ECDH-ES"}, "X25519", "enc"),
    ],
)
def test_good_ones_are_taken(said: dict[str, Any], kind: str, use: str) -> None:
    found = jwk.read(said | {"x5c": ["…"], "key_ops": ["verify"], "ext": True})
    assert (found.kind, found.use, found.alg) == (kind, use, said.get("alg", ""))
    assert found.members == {name: said[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in said}
    assert found.kid == found.thumbprint


def test_the_thumbprint_is_that_of_the_rfc() -> None:
    found = jwk.read(OF_THE_RFC | {"kid": "2011-04-29", "alg": "RS256"})
    assert found.kid == "2011-04-29"
    assert found.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_leading_zeros_make_no_other_key() -> None:
    padded = b64(b"\0" + base64.urlsafe_b64decode(OF_THE_RFC["n"] + "=="))
    assert jwk.read(OF_THE_RFC | {"n": padded}).thumbprint == jwk.read(OF_THE_RFC).thumbprint


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (None, "jwk"),
        ("a key", "jwk"),
        ({}, "jwk.kty"),
        ({"kty": "DSA"}, "jwk.kty"),
        ({"kty": ["RSA"]}, "jwk.kty"),
        (OF_THE_RFC | {"n": whole(2**1023 + 1)}, "jwk.n"),
        (OF_THE_RFC | {"n": whole(2**8200 + 1)}, "jwk.n"),
        (OF_THE_RFC | {"n": 5}, "jwk.n"),
        (OF_THE_RFC | {"n": OF_THE_RFC["n"] + "="}, "jwk.n"),
        (OF_THE_RFC | {"n": "+/+/"}, "jwk.n"),
        (OF_THE_RFC | {"e": "Aw"}, "jwk.e"),
        (OF_THE_RFC | {"e": "AQAA"}, "jwk.e"),
        ({"kty": "RSA", "e": "AQAB"}, "jwk.n"),
        (OF_THE_RFC | {"use": "tls"}, "jwk.use"),
        (OF_THE_RFC | {"use": ["sig"]}, "jwk.use"),
        (OF_THE_RFC | {"alg": "HS256"}, "jwk.alg"),
        (OF_THE_RFC | {"alg": "RSA1_5"}, "jwk.alg"),
        (OF_THE_RFC | {"use": "enc", "alg": "RS256"}, "jwk.alg"),
        (OF_THE_RFC | {"kid": ""}, "jwk.kid"),
        (OF_THE_RFC | {"kid": "two words"}, "jwk.kid"),
        (OF_THE_RFC | {"kid": "x" * 129}, "jwk.kid"),
        (OF_THE_RFC | {"kid": 1}, "jwk.kid"),
        (ec_key() | {"crv": "secp256k1"}, "jwk.crv"),
        (ec_key() | {"crv": "P-384"}, "jwk.x"),
        (ec_key() | {"y": b64(bytes(32))}, "jwk.x"),
        (ec_key() | {"alg": "ES384"}, "jwk.alg"),
        (okp_key() | {"crv": "Ed448"}, "jwk.crv"),
        (okp_key() | {"x": b64(bytes(31))}, "jwk.x"),
        (okp_key() | {"use": "enc"}, "jwk.use"),
        (okp_key("X25519") | {"x": b64(bytes(32))}, "jwk.x"),
    ],
)
def test_bad_ones_are_refused_by_name(said: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        jwk.read(said)
    assert [each["field"] for each in refused.value.errors] == [field]


@pytest.mark.parametrize("name", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_a_private_key_is_refused_loudly(name: str) -> None:
    with pytest.raises(PrivateKeySent) as refused:
        jwk.read(OF_THE_RFC | {name: "c2VjcmV0"})
    assert "make a new pair" in refused.value.detail
    assert refused.value.errors == [{"field": f"jwk.{name}", "detail": "is private"}]
    assert "c2VjcmV0" not in json.dumps([refused.value.detail, refused.value.errors])


def test_a_shared_secret_is_refused_loudly() -> None:
    with pytest.raises(PrivateKeySent):
        jwk.read({"kty": "oct"})


def test_an_rsa_key_as_pem() -> None:
    key: Any = load_pem_public_key(jwk.pem(jwk.read(OF_THE_RFC).members).encode())
    assert whole(key.public_numbers().n) == OF_THE_RFC["n"]
