"""What went wrong with an attempt, in a sentence for the sender and for staff. Pure."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import aiohttp

from dmr_project.lib import http

# Of OpenSSL's X509_V_ERR_…
_EXPIRED, _NOT_YET_VALID = 10, 9
_NOT_TRUSTED = frozenset({2, 18, 19, 20, 21})  # self-signed, or signed by nobody that we know
_ANOTHER_NAME = frozenset({62, 64})
_REASONS = {
    "WRONG_VERSION_NUMBER": "the endpoint does not speak TLS at that port: is it http?",
    "UNSUPPORTED_PROTOCOL": "the endpoint speaks only versions of TLS that are too old",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the endpoint speaks only versions of TLS that are too old",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the endpoint asks for a client certificate, and staff have set none for it",
    "TLSV1_ALERT_UNKNOWN_CA": "the endpoint does not trust the client certificate that staff have set for it",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the endpoint does not take the client certificate that staff have set for it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the endpoint says that the client certificate has expired",
}


def sentence(error: BaseException, total_seconds: float, *, is_tls: bool) -> str:
    if isinstance(error, http.EndpointRefused):
        return str(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {http.CONNECT_SECONDS:g} s"
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return f"no answer within {total_seconds:g} s"
    if isinstance(error, http.AnswerUnreadable):
        return "the recipient's answer is not HTTP"
    if isinstance(error, aiohttp.InvalidURL):
        return "the endpoint is not a URL"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the endpoint's host name cannot be resolved"
    for each in _causes(error):
        if isinstance(each, ssl.SSLError) and not isinstance(each, aiohttp.ClientError):
            return _of_tls(each)
        if isinstance(each, ConnectionRefusedError):
            return "the recipient refused the connection"
        if isinstance(each, (ConnectionResetError, BrokenPipeError, aiohttp.ServerDisconnectedError)):
            # With TLS 1.3 a server judges our certificate when it has our request already, and may say nothing.
            more = "; over TLS perhaps since it wants a client certificate, or another one" if is_tls else ""
            return f"the recipient broke the connection{more}"
    cause = getattr(error, "os_error", None) or error
    return f"the connection failed ({type(cause).__name__})"


def _of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code == _EXPIRED:
            return "the endpoint's certificate has expired"
        if code == _NOT_YET_VALID:
            return "the endpoint's certificate is not valid yet"
        if code in _NOT_TRUSTED:
            return (
                "the endpoint's certificate is signed by nobody that DMR trusts; "
                "staff can set an authority for this endpoint"
            )
        if code in _ANOTHER_NAME:
            return "the endpoint's certificate is for another name"
        return f"the endpoint's certificate is not valid ({error.verify_message})"
    reason = error.reason or ""
    return _REASONS.get(reason, f"TLS with the endpoint failed ({reason or type(error).__name__})")


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
