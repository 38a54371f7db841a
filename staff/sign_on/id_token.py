"""Is an ID token to be believed? OpenID Connect Core 1.0, section 3.1.3.7: pure, but for the keys."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import jwt

from staff.sign_on.errors import BadToken

# Signatures alone, by the provider's private key: with HS256 its public key would do for whoever makes one up.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS = 60  # that the provider's clock and ours may differ
LONGEST = 32 * 1024
LONGEST_SUBJECT = 255

Keys = Callable[[bool], list[dict[str, Any]]]  # asked with True, they are fetched anew


def verify(
    token: str, keys: Keys, *, issuer: str, client: str, nonce: str, acr_values: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What the token says. Raises BadToken."""
    if len(token) > LONGEST:
        raise BadToken("the token is too long")
    try:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise BadToken(f"it is signed by {algorithm!r}, which is not taken")
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(header, algorithm, keys),
            algorithms=[algorithm],
            audience=client,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except jwt.PyJWTError as error:
        raise BadToken(f"{type(error).__name__}: {error}") from None
    _check_client(claims, client)
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode("utf-8", "replace"), nonce.encode()):
        raise BadToken("its nonce is not that of this log-in")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise BadToken("its subject is no text of 1 to 255 characters")
    if acr_values and claims.get("acr") not in acr_values:
        raise BadToken(f"its acr is {claims.get('acr')!r}, and not what DMR_OIDC_ACR_VALUES asks for")
    return claims


def _check_client(claims: dict[str, Any], client: str) -> None:
    """For us, and given to us."""
    audience, party = claims["aud"], claims.get("azp")
    if isinstance(audience, list) and len(audience) > 1 and party is None:
        raise BadToken("it is for several, and does not say to whom it was given (azp)")
    if party is not None and party != client:
        raise BadToken("it was given to somebody else (azp)")


def _key(header: dict[str, Any], algorithm: str, keys: Keys) -> jwt.PyJWK:
    for is_anew in (False, True):  # the provider may have begun to use another one
        fitting = [key for key in keys(is_anew) if _fits(key, header.get("kid"), algorithm)]
        if len(fitting) == 1:
            return jwt.PyJWK(fitting[0], algorithm=algorithm)
    raise BadToken("it is signed by a key that the provider does not publish")


def _fits(key: dict[str, Any], name: object, algorithm: str) -> bool:
    families = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
    return (
        (name is None or key.get("kid") == name)
        and key.get("kty") == families[algorithm[:2]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )
