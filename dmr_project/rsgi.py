"""The application that granian serves: Django behind granian's RSGI interface.

Bodies are read on the event loop, under time and size limits, before a thread is given to the request: a client
that stalls holds a coroutine and not one of the few threads. (Under granian's WSGI interface 16 stalled bodies
stopped all others; a header that is not ASCII looked empty; see docs/adr/0005.) A plain message is accepted right
there (dmr_project.express); Django itself runs in threads.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import signal
import time
from collections.abc import AsyncIterator, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dmr_project.settings")

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.db import DatabaseError, close_old_connections
from django.urls import set_script_prefix

from dmr_project.lib import body
from dmr_project.lib.errors import DomainError
from dmr_project.processes import die_with_parent, reserve_metrics, set_start_apart

die_with_parent()
reserve_metrics()
_django = get_wsgi_application()

from dmr_project import express
from dmr_project.express import Answer
from dmr_project.large_bodies import Places
from dmr_project.middleware import said_by_proxy
from participants.authentication import known_name
from participants.void_keys import Watch
from relay.delivery import wake
from relay.inbox import leases
from relay.inbox.waiting import Place, polls

# Opens the way to the broker before the first message needs it.
wake.pump()

THREADS = 8  # of each web worker; each may hold a database connection
STAFF_THREADS = 2  # besides, for pages
FOR_PEOPLE = ("/admin", "/join")
UNREADABLE = "\ufffd"  # stands for a header value that is not ASCII, which the server does not hand over
LARGE_BYTES = 64 * 1024


def prepare_thread() -> None:
    """What Django keeps for each thread, and is the same for all requests."""
    set_script_prefix(f"{_prefix}/")


_prefix: str = settings.PATH_PREFIX
_void_keys = Watch()
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="web", initializer=prepare_thread)
# Pages for people, and the hashing of guessed passwords, wait for one another and not in the way of messages.
_staff_threads = ThreadPoolExecutor(STAFF_THREADS, thread_name_prefix="staff", initializer=prepare_thread)
_large = Places()  # for bodies above LARGE_BYTES


class Headers(Protocol):
    def keys(self) -> Iterable[str]: ...
    def items(self) -> Iterable[tuple[str, str]]: ...


class Scope(Protocol):
    """What RSGI says of a request."""

    method: str
    path: str
    query_string: str
    client: str
    server: str
    scheme: str
    http_version: str
    headers: Headers


class Exchange(Protocol):
    """RSGI's side of a request: its body, and the way to answer."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def client_disconnect(self) -> None: ...
    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...


async def application(scope: Scope, exchange: Exchange) -> None:
    """One request: its body, then Django in a thread, then the whole answer."""
    environ = environ_of(scope)
    loop = asyncio.get_running_loop()
    threads = _staff_threads if environ["PATH_INFO"].startswith(FOR_PEOPLE) else _threads
    environ["wsgi.input"] = io.BytesIO()
    try:
        length = body.declared_length(environ)
        if length > body.MOST_BYTES:
            raise body.PayloadTooLarge(f"The body has {length} bytes; at most {body.MOST_BYTES} are read at all.")
    except DomainError as error:
        environ["dmr.body_error"] = error  # answered by dmr_project.middleware.Problems
        length = 0
    environ["CONTENT_LENGTH"] = str(length)  # a number now, however it was written
    if length <= LARGE_BYTES:
        await read(environ, exchange, length)
        quick = await express.respond(environ) if express.is_plain(environ) else None
        answer = await loop.run_in_executor(threads, respond, environ) if quick is None else quick
    elif (caller := await loop.run_in_executor(threads, known_caller, environ)) is None:
        # Not read: a stranger fills neither memory nor the few places for large bodies. Django says 401 or 403.
        answer = await loop.run_in_executor(threads, respond, environ)
    else:
        async with _large.one_of(caller):
            await read(environ, exchange, length)
            answer = await loop.run_in_executor(threads, respond, environ)
    if "dmr.wait" in environ:
        answer = await wait_and_ask_again(scope, exchange, environ["dmr.wait"], answer)
    exchange.response_bytes(*answer)


def started(loop: asyncio.AbstractEventLoop) -> None:
    """Called by granian once its loop hears signals: on SIGTERM, who waits is answered at once.

    A handler of Python's runs beside the loop's own, by which granian stops.
    """
    importlib.import_module(settings.ROOT_URLCONF)  # every view is loaded now, and not while the first requests wait
    set_start_apart()
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(polls.close))


application.__rsgi_init__ = started  # type: ignore[attr-defined]


async def read(environ: dict[str, Any], exchange: Exchange, length: int) -> None:
    """The body, of exactly its declared length; what is wrong with it is left for the answer."""
    try:
        environ["wsgi.input"] = io.BytesIO(await body.collect(exchange, length))
    except DomainError as error:
        environ["dmr.body_error"] = error
    environ["dmr.read_at"] = time.perf_counter()  # from here on it is we whom the client waits for


def known_caller(environ: dict[str, Any]) -> str | None:
    """Who may send a large body; None for a stranger. Runs in a thread, with a database connection of its own."""
    try:
        return known_name(environ | said_by_proxy(environ))
    except DatabaseError:
        return ""  # Django answers 503
    finally:
        close_old_connections()


async def wait_and_ask_again(scope: Scope, exchange: Exchange, place: Place, answer: Answer) -> Answer:
    """A poll of an inbox that found nothing: waits on the event loop, and runs Django again when there is something.

    Nothing is leased for a client that has hung up. Returns the last answer.
    """
    gone = asyncio.ensure_future(hung_up(exchange))
    try:
        while await polls.wait(place, look_into_inboxes, gone):
            environ = environ_of(scope) | {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0", "dmr.place": place}
            answer = await asyncio.get_running_loop().run_in_executor(_threads, respond, environ)
            if "dmr.wait" not in environ:
                break
    finally:
        gone.cancel()
        polls.leave(place)
    return answer


async def hung_up(exchange: Exchange) -> None:
    await exchange.client_disconnect()


async def look_into_inboxes(recipient_ids: Collection[int]) -> set[int]:
    """Which of these participants have something to fetch, or wait with a key that is void and are to be told."""

    def look() -> set[int]:
        try:
            return leases.with_something(recipient_ids) | _void_keys.holders(polls.keys())
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(_threads, look)


def respond(environ: dict[str, Any]) -> Answer:
    """Runs Django, in a thread, as its WSGIHandler does; without the signals, of whose listeners we need only one."""
    request = WSGIRequest(environ)
    try:
        response = _django.get_response(request)
        headers = [(name.lower(), value) for name, value in response.items()]
        headers += [("set-cookie", cookie.OutputString()) for cookie in response.cookies.values()]
        content = b"".join(response)
        if response.streaming:
            response.close()
    finally:
        request.close()
        close_old_connections()
    return response.status_code, headers, content


def environ_of(scope: Scope) -> dict[str, Any]:
    """The request as WSGI has it (PEP 3333), with the path prefix of DMR_PUBLIC_URL taken off.

    A proxy may leave the prefix on or take it off: both arrive at the same view.
    """
    path = scope.path
    if _prefix and (path == _prefix or path.startswith(_prefix + "/")):
        path = path[len(_prefix) :] or "/"
    host, port = address_of(scope.server)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": address_of(scope.client)[0],
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "dmr.can_wait": True,
    }
    for name, value in scope.headers.items():
        _put(environ, name, value)
    for name in scope.headers.keys():  # noqa: SIM118 -- it is no mapping: names with unreadable values are only here
        if variable(name) not in environ:
            _put(environ, name, UNREADABLE)
    return environ


@lru_cache(maxsize=1000)
def address_of(written: str) -> tuple[str, str]:
    """Host and port out of `host:port`, an IPv6 host being in brackets."""
    parsed = urlsplit(f"//{written}")
    return parsed.hostname or "", str(parsed.port or "")


@lru_cache(maxsize=1000)  # clients can make up names without end
def variable(name: str) -> str:
    upper = name.upper().replace("-", "_")
    return upper if upper in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{upper}"


def _put(environ: dict[str, Any], name: str, value: str) -> None:
    """One header. What comes twice is joined, so that neither is overlooked."""
    if "_" in name:
        return  # would read as the header with hyphens
    key = variable(name)
    known = environ.get(key)
    environ[key] = value if known is None else f"{known}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
