"""A login to the admin that works, also on data that somebody else began."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from demo.children import ROOT
from demo.errors import DemoError
from demo.http_call import call
from demo.place import Place, given, write_secret

FILE = "login.json"  # in the demonstration's folder, readable by us alone
MAKE_SECONDS = 60


@dataclass(frozen=True)
class Login:
    user: str
    password: str
    is_given: bool = False  # by whoever started us, who knows the password

    def works(self, url: str) -> bool:
        """Logs in as a browser would. Raises Unreachable."""
        page = f"{url}/admin/login/"
        shown = call("GET", page)
        cookies = SimpleCookie(shown.headers.get("Set-Cookie", ""))
        token = cookies["csrftoken"].value if "csrftoken" in cookies else ""
        form = {"username": self.user, "password": self.password, "csrfmiddlewaretoken": token, "next": "/admin/"}
        headers = {"Cookie": f"csrftoken={token}", "Content-Type": "application/x-www-form-urlencoded"}
        return call("POST", page, headers, urlencode(form).encode(), seconds=20).status == 302


def choose(folder: Path) -> Login:
    """The login to start with: the one given, else the one kept from the last run, else a new one, kept."""
    password = given("DMR_ADMIN_PASSWORD")
    if password:
        return Login(given("DMR_ADMIN_USER") or "admin", password, is_given=True)
    return _kept(folder) or _keep(folder, Login(given("DMR_ADMIN_USER") or "admin", secrets.token_urlsafe(12)))


def ensure(login: Login, place: Place) -> Login:
    """`login`, or where the data knows others, the kept one or a new account. Raises DemoError, Unreachable."""
    for candidate in (login, _kept(place.folder)):
        if candidate is not None and candidate.works(place.url):
            return candidate
    made = Login(f"demo-{secrets.token_hex(2)}", secrets.token_urlsafe(12))
    command = [sys.executable, "manage.py", "createsuperuser", "--noinput", "--username", made.user]
    try:
        subprocess.run(
            [*command, "--email", f"{made.user}@example.org"],
            cwd=ROOT,
            env={**place.environment, "DJANGO_SUPERUSER_PASSWORD": made.password},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=MAKE_SECONDS,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise DemoError(f"No login to the admin works, and none could be made: {error}") from error
    return _keep(place.folder, made)


def _kept(folder: Path) -> Login | None:
    try:
        content = json.loads((folder / FILE).read_text())
        return Login(str(content["user"]), str(content["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(folder: Path, login: Login) -> Login:
    write_secret(folder / FILE, json.dumps({"user": login.user, "password": login.password}))
    return login
