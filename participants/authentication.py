"""From a request's credential to who is calling."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from dmr_project.lib.network import is_within, parse_address
from participants import directory, failures, keys, metrics, scopes
from participants.directory import Credential, Directory, Entry
from participants.guesses import TooManyBadKeys, guesses
from participants.scopes import Scope


class StaffKey:
    """The caller that holds DMR_ADMIN_API_KEY."""

    is_authenticated = True
    is_staff = True
    name = "staff key"


def known(request: Request) -> Directory:
    """The registry as of this request: read once, and used by all that decide about it."""
    found: Directory | None = getattr(request._request, "directory", None)
    if found is None:
        found = request._request.directory = directory.current()  # type: ignore[attr-defined]
    return found


class ApiKeyAuthentication(BaseAuthentication):
    """`X-Api-Key`: a participant's key gives its Entry as `request.user`, the staff key a StaffKey.

    Raises AuthenticationFailed (401) without a valid one.
    """

    def authenticate(self, request: Request) -> tuple[Entry | StaffKey, Credential | None]:
        environ = request._request.META
        key = environ.get("HTTP_X_API_KEY", "")
        if not key:
            raise NotAuthenticated("Send your key in the header X-Api-Key.")
        if keys.is_staff_key(key):
            return StaffKey(), None
        credential = valid(key, known(request), environ)
        if credential is None:
            if is_first(environ, "dmr.refused_key"):
                failures.count(failures.KEY, keys.digest(key))
            raise AuthenticationFailed("The key in X-Api-Key is not known, has expired, or was revoked.")
        keys.note_use(credential.key_id)
        return credential.participant, credential

    def authenticate_header(self, request: Request) -> str:
        return 'ApiKey realm="DMR"'


def valid(key: str, registry: Directory, environ: dict[str, Any]) -> Credential | None:
    """Whose key this is, None where it is nobody's. Raises TooManyBadKeys, before it is looked up."""
    digest, address = keys.digest(key), environ.get("REMOTE_ADDR", "")
    if guesses.is_guess(address, digest):
        if is_first(environ, "dmr.guessed_key"):
            metrics.BAD_KEYS.labels(result="not looked up").inc()
        raise TooManyBadKeys("Send a valid key in X-Api-Key; another may be tried after a minute.")
    found = registry.credential(key)
    if found is not None:
        guesses.note_good(digest)
    elif is_first(environ, "dmr.bad_key"):
        guesses.note_bad(address)
    return found


def is_first(environ: dict[str, Any], what: str) -> bool:
    """Is this to be counted? The same request may be looked at again, by the registry as it is now."""
    if environ.get(what):
        return False
    environ[what] = True
    return True


def remembered(environ: Mapping[str, Any], registry: Directory, scope: Scope) -> Credential | None:
    """Whose key this is, if it was seen to be good and its use was written down lately; None leaves it to the others.

    Raises ScopeMissing. What takes a query raises SynchronousOnlyOperation on an event loop.
    """
    key = environ.get("HTTP_X_API_KEY", "")
    if not key or not guesses.has_seen_good(keys.digest(key)):
        return None
    found = registry.credential(key)
    if found is None or not keys.is_use_noted(found.key_id):
        return None
    scopes.check(found.scopes, scope)
    return found


def caller(request: Request) -> Entry:
    """The participant that is calling, behind IsParticipant."""
    user: Any = request.user
    assert isinstance(user, Entry)
    return user


class SourceNetworkAuthentication(ApiKeyAuthentication):
    """As ApiKeyAuthentication; without a key, whoever staff believe by address is who X-Sent-By says.

    For unmodified clients of the first generation, on the relay's POSTs only. X-Sent-By must be the full name.
    """

    def authenticate(self, request: Request) -> tuple[Entry | StaffKey, Credential | None]:
        environ = request._request.META
        if not environ.get("HTTP_X_API_KEY") and request.method == "POST":
            entry = believed_by_address(known(request), environ)
            if entry is not None:
                if is_first(environ, "dmr.keyless"):
                    metrics.KEYLESS.inc()
                return entry, None
        return super().authenticate(request)


def believed_by_address(registry: Directory, environ: Mapping[str, Any]) -> Entry | None:
    """The participant that X-Sent-By names, if staff have it believed from where the request comes.

    Nobody is believed by a proxy's address, which anybody can have: be it ours, or one that we do not know of.
    """
    entry = registry.named(environ.get("HTTP_X_SENT_BY", ""))
    address = parse_address(environ.get("REMOTE_ADDR", ""))
    if entry is None or address is None or not entry.source_networks:
        return None
    is_forwarded = "HTTP_X_FORWARDED_FOR" in environ and not environ.get("dmr.is_from_proxy")
    if is_forwarded or is_within(address, settings.TRUSTED_PROXIES):
        return None
    believed = [ipaddress.ip_network(each.strip()) for each in entry.source_networks.split(",")]
    return entry if is_within(address, believed) else None


def known_name(environ: Mapping[str, Any]) -> str | None:
    """Whose valid key a WSGI request bears, or who is believed where it comes from. Before its body is read."""
    key = environ.get("HTTP_X_API_KEY", "")
    if key and keys.is_staff_key(key):
        return StaffKey.name
    if key and guesses.is_guess(environ.get("REMOTE_ADDR", ""), keys.digest(key)):
        return None
    registry = directory.current()
    credential = registry.credential(key) if key else None
    found = (
        credential.participant if credential is not None else None if key else believed_by_address(registry, environ)
    )
    return found.name if found is not None else None


class IsParticipant(BasePermission):
    """A participant, with a key that is for what the view's `scope` says. Raises ScopeMissing."""

    message = "This needs a participant's key; the one in X-Api-Key is of another kind."

    def has_permission(self, request: Request, view: Any) -> bool:
        user: Any = request.user
        if not isinstance(user, Entry):
            return False
        credential: Any = request.auth
        if credential is not None:  # None: believed by its address, which opens nothing but the relay
            scopes.check(credential.scopes, view.scope)
        return True


class IsParticipantOrStaffKey(IsParticipant):
    message = "This needs a participant's key, or a staff key."

    def has_permission(self, request: Request, view: Any) -> bool:
        user: Any = request.user
        return isinstance(user, StaffKey) or super().has_permission(request, view)


class IsStaffKey(BasePermission):
    message = "This needs a staff key; the one in X-Api-Key is a participant's."

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, StaffKey)
