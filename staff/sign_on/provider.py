"""The provider: what it publishes of itself, its keys, and the exchange of a code for an ID token.

Called by the one outbound client, under its limits. Private addresses are called in DMR_OIDC_PRIVATE_NETWORKS alone,
and everywhere where DMR_ALLOW_PRIVATE_ENDPOINTS is on.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from django.conf import settings

from dmr_project.lib import http
from staff.sign_on.errors import ProviderFailed

KEEP_SECONDS = 3600.0  # what it publishes
WAIT_SECONDS = 2.0  # for an answer that another thread waits for
FAILED_SECONDS = 5.0  # after a failure it is left alone, so that no thread of ours waits for it again and again


@dataclass(frozen=True)
class Provider:
    """Of its discovery document, what we use."""

    issuer: str
    authorization: str
    token: str
    keys: str
    end_session: str
    takes_basic: bool
    says_issuer: bool  # on the way back (RFC 9207)


def parse(document: Any, issuer: str, *, is_production: bool) -> Provider:
    """Raises ProviderFailed."""
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise ProviderFailed("its discovery document is not that of DMR_OIDC_ISSUER")
    found = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"):
        url = document.get(name)
        if url is None and name == "end_session_endpoint":
            url = ""
        schemes = ("https",) if is_production else ("https", "http")
        if not isinstance(url, str) or (url and urlsplit(url).scheme not in schemes):
            raise ProviderFailed(f"its {name} is no {' or '.join(schemes)} address")
        found[name] = url
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Provider(
        issuer=issuer,
        authorization=found["authorization_endpoint"],
        token=found["token_endpoint"],
        keys=found["jwks_uri"],
        end_session=found["end_session_endpoint"],
        takes_basic="client_secret_basic" in methods,
        says_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


Value = TypeVar("Value")


class Published(Generic[Value]):
    """Something that the provider publishes, as this process knows it.

    One thread asks for it at a time, and no other waits for that where it need not: what is known, though old, does
    meanwhile; and where nothing is known, WAIT_SECONDS are the most. A failure is remembered for FAILED_SECONDS.
    """

    def __init__(self, fetch: Callable[[], Value]) -> None:
        self._fetch = fetch
        self._changed = threading.Condition()
        self._known: tuple[float, Value] | None = None
        self._failed_at = -FAILED_SECONDS
        self._is_asked = False

    def get(self, is_anew: bool = False) -> Value:
        """`is_anew`: what is known is not enough. Raises ProviderFailed."""
        began = time.monotonic()
        with self._changed:
            if self._known is not None and not is_anew and began - self._known[0] < KEEP_SECONDS:
                return self._known[1]
            if self._is_asked:
                return self._from_another(is_anew)
            if began - self._failed_at < FAILED_SECONDS:
                raise ProviderFailed("it could not be reached a moment ago")
            self._is_asked = True
        found: Value | None = None
        try:
            found = self._fetch()
            return found
        finally:
            with self._changed:
                # Now: who comes next must not wait for as long again.
                if found is None:
                    self._failed_at = time.monotonic()
                else:
                    self._known = (time.monotonic(), found)
                self._is_asked = False
                self._changed.notify_all()

    def known(self) -> Value | None:
        """Without asking."""
        return self._known[1] if self._known else None

    def _from_another(self, is_anew: bool) -> Value:
        """While another thread asks; the lock is held but for the waiting."""
        before = self._known
        if before is None or is_anew:
            self._changed.wait_for(lambda: not self._is_asked, WAIT_SECONDS)
        if self._known is None or (is_anew and self._known is before):
            raise ProviderFailed("it has not answered another log-in yet")
        return self._known[1]


class Kept:
    """What this process knows of the provider."""

    def __init__(self) -> None:
        self._provider = Published(self._ask)
        self._keys = Published(self._ask_for_keys)

    def provider(self) -> Provider:
        """Raises ProviderFailed."""
        return self._provider.get()

    def known(self) -> Provider | None:
        """Without asking it."""
        return self._provider.known()

    def keys(self, is_anew: bool = False) -> list[dict[str, Any]]:
        """As JWK. Raises ProviderFailed."""
        return self._keys.get(is_anew)

    def _ask(self) -> Provider:
        issuer: str = settings.OIDC_ISSUER
        document = _get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        return parse(document, issuer, is_production=settings.IS_PRODUCTION)

    def _ask_for_keys(self) -> list[dict[str, Any]]:
        document = _get(self.provider().keys)
        keys = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(keys, list):
            raise ProviderFailed("its keys are no JWK set")
        return [key for key in keys if isinstance(key, dict)]


kept = Kept()


def forget() -> None:
    """For tests."""
    global kept
    kept = Kept()


def exchange(code: str, verifier: str, redirect: str) -> str:
    """The ID token. Raises ProviderFailed."""
    provider = kept.provider()
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    client, secret = settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET
    if provider.takes_basic:
        pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
    else:
        form |= {"client_id": client, "client_secret": secret}
    said = _read(_call("POST", provider.token, headers, urlencode(form).encode()))
    token = said.get("id_token") if isinstance(said, dict) else None
    if not isinstance(token, str):
        raise ProviderFailed("it answers a code with no ID token")
    return token


def _get(url: str) -> Any:
    return _read(_call("GET", url, {"Accept": "application/json"}))


def _call(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> http.Answer:
    guard = http.AddressGuard(settings.ALLOW_PRIVATE_ENDPOINTS, settings.OIDC_PRIVATE_NETWORKS)
    try:
        return http.call_once(guard, method, url, headers, body)
    except (http.CallFailed, http.EndpointRefused) as error:
        raise ProviderFailed(f"{urlsplit(url).hostname}: {error}") from None


def _read(answer: http.Answer) -> Any:
    """Never with the body in the error: it may hold a token."""
    if answer.status != 200:
        raise ProviderFailed(f"it answers {answer.status}")
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise ProviderFailed("its answer is no JSON, or too long") from None
