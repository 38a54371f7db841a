"""Staff log in to the running product: by a provider in a process of its own, and no faster than they may guess."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urlsplit

import pytest

from tests.integration.product import Answer, Product, call
from tests.staff import oidc_provider
from tests.staff.provider import running


class Browser:
    """Keeps cookies, as far as log-ins need it; follows nothing by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies: dict[str, str] = {}

    def open(self, path: str, form: dict[str, str] | None = None) -> Answer:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = call(f"{self.url}{path}", "GET" if form is None else "POST", urlencode(form or {}).encode(), headers)
        for header in answer.headers.get_all("Set-Cookie", []):
            self.cookies.update({name: morsel.value for name, morsel in SimpleCookie(header).items()})
        return answer

    def send(self, path: str, form: dict[str, str]) -> Answer:
        """The form of the log-in page, with its token."""
        page = self.open("/admin/login/").body.decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token
        return self.open(path, {**form, "csrfmiddlewaretoken": token[1]})


@pytest.mark.slow
def test_staff_sign_on(unstarted_product: Product) -> None:
    with running() as idp:
        unstarted_product.environment.update(
            {
                "DMR_OIDC_ISSUER": idp.issuer,
                "DMR_OIDC_CLIENT_ID": oidc_provider.CLIENT,
                "DMR_OIDC_CLIENT_SECRET": oidc_provider.SECRET,
                "DMR_REQUIRE_SECOND_FACTOR": "all",
            }
        )
        unstarted_product.start()
        browser = Browser(unstarted_product.url)
        away = urlsplit(browser.send("/admin/login/sign-on/", {"next": "/admin/relay/delivery/"}).headers["Location"])
        assert f"{away.scheme}://{away.netloc}" == idp.issuer.removesuffix("/realms/core")
        _, back, _ = idp.call("GET", f"{away.path}?{away.query}")
        to = browser.open(back.removeprefix(unstarted_product.url)).headers["Location"]
        assert to == "/admin/relay/delivery/"
        assert browser.open(to).status == 200
        assert browser.open("/admin/auth/user/").status == 403, "a viewer"
        assert Browser(unstarted_product.url).open(to).status == 302


def test_guesses_are_slowed_down_by_all_web_processes(own_product: Product) -> None:
    browser = Browser(own_product.url)
    answers = []
    for _ in range(12):  # each of the later ones asks for more patience than it takes to come this far
        answers.append(browser.send("/admin/login/", {"username": "admin", "password": "wrong", "next": ""}))
        if answers[-1].status == 429:
            break
    assert [each.status for each in answers[:6]] == [200] * 6
    assert answers[-1].status == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert b"Too many log-ins failed" in answers[-1].body
