"""Whatever calls somebody else's address does so through dmr_project.lib.http, and so through its guard."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APPS = ("dmr_project", "participants", "relay", "updates", "staff", "observability")
CLIENTS = {"aiohttp", "requests", "httpx", "urllib.request", "urllib3", "http.client", "ftplib", "socket", "pycurl"}
# Each with why it may.
ALLOWED = {
    ("dmr_project/lib/http.py", "aiohttp"): "it is the client",
    ("dmr_project/lib/http.py", "socket"): "makes the sockets whose addresses it checks",
    ("dmr_project/lib/loops.py", "socket"): "resolves names for it",
    ("relay/delivery/transport.py", "aiohttp"): "catches its errors",
    ("relay/delivery/failures.py", "aiohttp"): "reads its errors",
    ("dmr_project/server.py", "urllib.request"): "asks our own /livez whether we are up",
    ("dmr_project/server.py", "socket"): "is our port free?",
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@cache
def found() -> set[tuple[str, str]]:
    return {
        (str(path.relative_to(ROOT)), client)
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        for name in imported(path)
        for client in CLIENTS
        if name == client or name.startswith(f"{client}.")
    }


def test_nothing_else_calls_out() -> None:
    assert found() - set(ALLOWED) == set(), "calls out past dmr_project.lib.http; or say here why it may"


def test_what_is_allowed_is_still_there() -> None:
    assert set(ALLOWED) - found() == set()


def test_only_the_engine_opens_a_session() -> None:
    openers = {
        str(path.relative_to(ROOT))
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        if "open_session(" in path.read_text(encoding="utf-8") or "ClientSession(" in path.read_text(encoding="utf-8")
    }
    assert openers == {"dmr_project/lib/http.py", "relay/delivery/engine.py"}
