"""The WSGI application that granian serves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dmr_project.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from dmr_project.lib.body import Body
from dmr_project.processes import die_with_parent

die_with_parent()
_django = get_wsgi_application()

from relay.delivery import wake

# Opens the way to the broker before the first message needs it.
wake.pump()
_prefix: str = settings.PATH_PREFIX


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, behind a body that cannot lie and with the path prefix of DMR_PUBLIC_URL taken off.

    A proxy may leave the prefix on or take it off: both arrive at the same view.
    """
    length = environ.get("CONTENT_LENGTH") or "0"
    if length.isascii() and length.isdigit():
        environ["wsgi.input"] = Body(environ["wsgi.input"], int(length))
    path = environ.get("PATH_INFO", "")
    if _prefix and (path == _prefix or path.startswith(_prefix + "/")):
        environ["PATH_INFO"] = path[len(_prefix) :] or "/"
    return _django(environ, start_response)
