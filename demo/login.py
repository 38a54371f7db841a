"""A login to the admin that works, also on data that somebody else began."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from demo.command import Refused, manage
from demo.errors import DemoError, Unexpected
from demo.http_call import Answer, call
from demo.place import Place, given, write_secret

FILE = "login.json"  # in the demonstration's folder, readable by us alone


@dataclass(frozen=True)
class Login:
    user: str
    password: str
    is_given: bool = False  # by whoever started us, who knows the password

    def works(self, url: str) -> bool:
        """Raises Unreachable."""
        return self._log_in(url) is not None

    def page(self, url: str, path: str) -> str:
        """A page of the admin, as this person sees it. Raises Unexpected, Unreachable."""
        session = self._log_in(url)
        if session is None:
            raise Unexpected(f"the login of {self.user} to work", "it was refused")
        answer = call("GET", f"{url}{path}", {"Cookie": f"sessionid={session}"}, seconds=20)
        if answer.status != 200:
            raise Unexpected(f"the page {path}", str(answer))
        return answer.body.decode()

    def _log_in(self, url: str) -> str | None:
        """Logs in as a browser would; the session."""
        page = f"{url}/admin/login/"
        token = _cookie(call("GET", page), "csrftoken") or ""
        form = {"username": self.user, "password": self.password, "csrfmiddlewaretoken": token, "next": "/admin/"}
        headers = {"Cookie": f"csrftoken={token}", "Content-Type": "application/x-www-form-urlencoded"}
        answer = call("POST", page, headers, urlencode(form).encode(), seconds=20)
        return _cookie(answer, "sessionid") if answer.status == 302 else None


def choose(folder: Path) -> Login:
    """The login to start with: the one given, else the one kept from the last run, else a new one, kept."""
    password = given("DMR_ADMIN_PASSWORD")
    if password:
        return Login(given("DMR_ADMIN_USER") or "admin", password, is_given=True)
    return kept(folder / FILE) or keep(
        folder / FILE, Login(given("DMR_ADMIN_USER") or "admin", secrets.token_urlsafe(12))
    )


def ensure(login: Login, place: Place) -> Login:
    """`login`, or where the data knows others, the kept one or a new account. Raises DemoError, Unreachable."""
    for candidate in (login, kept(place.folder / FILE)):
        if candidate is not None and candidate.works(place.url):
            return candidate
    try:
        made = make(Login(f"demo-{secrets.token_hex(2)}", secrets.token_urlsafe(12)), place)
    except Refused as error:
        raise DemoError(f"No login to the admin works, and none could be made: {error.reason}") from error
    return keep(place.folder / FILE, made)


def make(login: Login, place: Place) -> Login:
    """A new staff account. Raises Refused where there is one of that name, DemoError."""
    arguments = ["--noinput", "--username", login.user, "--email", f"{login.user}@example.org"]
    environment = {**place.environment, "DJANGO_SUPERUSER_PASSWORD": login.password}
    manage(environment, "createsuperuser", *arguments)
    return login


def kept(path: Path) -> Login | None:
    try:
        content = json.loads(path.read_text())
        return Login(str(content["user"]), str(content["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(path: Path, login: Login) -> Login:
    write_secret(path, json.dumps({"user": login.user, "password": login.password}))
    return login


def _cookie(answer: Answer, name: str) -> str | None:
    cookies = SimpleCookie()
    for line in answer.headers.get_all("Set-Cookie", []):
        cookies.load(line)
    return cookies[name].value if name in cookies else None
