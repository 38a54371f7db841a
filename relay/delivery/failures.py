"""What went wrong with an attempt, in a sentence for the sender and for staff. Pure."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import aiohttp

from dmr_project.lib import http
from dmr_project.lib.sentences import Sentence

# Of OpenSSL's X509_V_ERR_…
_EXPIRED, _NOT_YET_VALID = 10, 9
_NOT_TRUSTED = frozenset({2, 18, 19, 20, 21})  # self-signed, or signed by nobody that we know
_ANOTHER_NAME = frozenset({62, 64})
_REASONS = {
    "WRONG_VERSION_NUMBER": Sentence("the endpoint does not speak TLS at that port: is it http?"),
    "UNSUPPORTED_PROTOCOL": Sentence("the endpoint speaks only versions of TLS that are too old"),
    "TLSV1_ALERT_PROTOCOL_VERSION": Sentence("the endpoint speaks only versions of TLS that are too old"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Sentence(
        "the endpoint asks for a client certificate, and staff have set none for it"
    ),
    "TLSV1_ALERT_UNKNOWN_CA": Sentence(
        "the endpoint does not trust the client certificate that staff have set for it"
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": Sentence(
        "the endpoint does not take the client certificate that staff have set for it"
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": Sentence("the endpoint says that the client certificate has expired"),
}


_NO_CONNECTION = Sentence("no connection within %(seconds)s s")
_TOO_LATE = Sentence("no connection in time")
_NO_ANSWER = Sentence("no answer within %(seconds)s s")
_NO_HTTP = Sentence("the recipient's answer is not HTTP")
_NO_URL = Sentence("the endpoint is not a URL")
_NO_NAME = Sentence("the endpoint's host name cannot be resolved")
_CONNECTION_REFUSED = Sentence("the recipient refused the connection")
_BROKEN = Sentence("the recipient broke the connection")
_BROKEN_TLS = Sentence(
    "the recipient broke the connection; over TLS perhaps since it wants a client certificate, or another one"
)
_FAILED = Sentence("the connection failed (%(error)s)")
_TLS_FAILED = Sentence("TLS with the endpoint failed (%(error)s)")
_CERTIFICATE_EXPIRED = Sentence("the endpoint's certificate has expired")
_CERTIFICATE_EARLY = Sentence("the endpoint's certificate is not valid yet")
_CERTIFICATE_UNTRUSTED = Sentence(
    "the endpoint's certificate is signed by nobody that DMR trusts; staff can set an authority for this endpoint"
)
_CERTIFICATE_OF_ANOTHER = Sentence("the endpoint's certificate is for another name")
_CERTIFICATE_INVALID = Sentence("the endpoint's certificate is not valid (%(error)s)")


def sentence(error: BaseException, total_seconds: float, *, is_tls: bool) -> str:
    if isinstance(error, http.EndpointRefused):
        return str(error)
    if isinstance(error, http.TooLate):
        return _TOO_LATE()
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _NO_CONNECTION(seconds=f"{http.CONNECT_SECONDS:g}")
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return _NO_ANSWER(seconds=f"{total_seconds:g}")
    if isinstance(error, http.AnswerUnreadable):
        return _NO_HTTP()
    if isinstance(error, aiohttp.InvalidURL):
        return _NO_URL()
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _NO_NAME()
    for each in _causes(error):
        if isinstance(each, ssl.SSLError) and not isinstance(each, aiohttp.ClientError):
            return _of_tls(each)
        if isinstance(each, ConnectionRefusedError):
            return _CONNECTION_REFUSED()
        if isinstance(each, (ConnectionResetError, BrokenPipeError, aiohttp.ServerDisconnectedError)):
            # With TLS 1.3 a server judges our certificate when it has our request already, and may say nothing.
            return _BROKEN_TLS() if is_tls else _BROKEN()
    cause = getattr(error, "os_error", None) or error
    return _FAILED(error=type(cause).__name__)


def _of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code == _EXPIRED:
            return _CERTIFICATE_EXPIRED()
        if code == _NOT_YET_VALID:
            return _CERTIFICATE_EARLY()
        if code in _NOT_TRUSTED:
            return _CERTIFICATE_UNTRUSTED()
        if code in _ANOTHER_NAME:
            return _CERTIFICATE_OF_ANOTHER()
        return _CERTIFICATE_INVALID(error=error.verify_message)
    reason = error.reason or ""
    known = _REASONS.get(reason)
    return known() if known else _TLS_FAILED(error=reason or type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it wraps."""
    seen: list[BaseException] = []
    todo = [error]
    while todo:
        each = todo.pop(0)
        if each in seen:
            continue
        seen.append(each)
        yield each
        wrapped = (
            getattr(each, name, None) for name in ("certificate_error", "os_error", "__cause__", "__context__")
        )
        todo += [one for one in wrapped if isinstance(one, BaseException)]
