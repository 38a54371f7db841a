"""No page type has a serious finding of axe-core, is wider than its window, complains, or asks anybody else."""

from __future__ import annotations

import pytest

from tests.browser.portal import Portal, Someone

pytestmark = pytest.mark.slow  # a browser, and a product of its own

# A page of each type. `{first}` is the key of the first participant that is not us.
PAGES = {
    "start": "/admin/",
    "list": "/admin/participants/participant/",
    "list, filtered": "/admin/relay/delivery/?dead=open&q=bot",
    "list, nothing in it": "/admin/participants/participant/?q=nobody-has-this-name",
    "list with buttons": "/admin/relay/deliverykey/",
    "fleet": "/admin/observability/instance/",
    "alerts": "/admin/observability/alert/",
    "audit log": "/admin/participants/change/",
    "form": "/admin/participants/participant/2/change/",
    "form, empty": "/admin/participants/participant/add/",
    "import, empty": "/admin/participants/participant/import/",
    "room": "/admin/participants/room/2/change/",
    "overview": "/admin/observability/instance/participant/2/",
    "instance": "/admin/observability/instance/2/change/",
    "status": "/admin/participants/participant/2/life/",
    "new key": "/admin/participants/participant/2/issue-key/",
    "endpoint terms": "/admin/participants/endpointterms/of/2/",
    "history": "/admin/participants/participant/2/history/",
    "deletion": "/admin/participants/room/2/delete/",
    "decision": "/admin/participants/application/1/change/",
    "application, empty": "/admin/participants/application/add/",
    "outages": "/admin/participants/outage/calendar/",
    "outage, empty": "/admin/participants/outage/add/",
    "delivery": "/admin/relay/delivery/1/change/",
    "job, empty": "/admin/relay/deadletterjob/add/",
    "release, empty": "/admin/updates/release/add/",
    "rollout": "/admin/updates/rollout/1/change/",
    "rollout, empty": "/admin/updates/rollout/add/",
    "signing key, empty": "/admin/updates/staffkey/add/",
    "account": "/admin/auth/user/2/change/",
    "password": "/admin/password_change/",
    "second factor": "/admin/second-factor/",
}
FOR_ANYBODY = {"log-in": "/admin/login/", "application form": "/join/"}


def check(person: Someone, path: str) -> None:
    for look in ({"dark": False, "narrow": False}, {"dark": True, "narrow": True}):
        assert person.open(path, **look) == 200, path
        assert person.findings() == [], (path, look)
        assert person.overflow() <= 0, (path, look)
        assert person.complaints == [], (path, look)


@pytest.mark.parametrize("name", PAGES)
def test_page(mari: Someone, name: str) -> None:
    check(mari, PAGES[name])


@pytest.mark.parametrize("name", FOR_ANYBODY)
def test_page_for_anybody(portal: Portal, name: str) -> None:
    stranger = portal.visit()
    check(stranger, FOR_ANYBODY[name])
    stranger.leave()


def test_a_key_that_is_shown_once(mari: Someone) -> None:
    mari.open("/admin/participants/participant/2/issue-key/")
    mari.page.click("input[type=submit]")
    assert len(mari.page.input_value("#key")) > 20
    assert mari.findings() == []


def check_as_it_is(person: Someone) -> None:
    """A page that answers a form: it cannot be opened anew."""
    assert person.findings() == []
    assert person.overflow() <= 0
    assert person.complaints == []


def test_what_an_action_on_many_would_change(mari: Someone) -> None:
    mari.open("/admin/participants/participant/")
    mari.page.check("#action-toggle")
    mari.page.select_option("select[name=action]", "suspend")
    mari.page.locator("select[name=action]").locator("xpath=ancestor::form").evaluate("each => each.submit()")
    mari.page.wait_for_selector("#bulk input[name=reason]")
    check_as_it_is(mari)


def test_what_a_job_would_do(mari: Someone) -> None:
    mari.open("/admin/relay/deadletterjob/add/")
    mari.page.fill("#id_recipient_name", "bot-1")
    mari.page.click("input[value='Show what would be done']")
    mari.page.wait_for_selector("text=Nothing is done yet.")
    check_as_it_is(mari)


def test_what_a_file_would_change(mari: Someone) -> None:
    mari.open("/admin/participants/participant/import/")
    text = b"name;contact_name;host\nbot-0;Anna;http://elsewhere.invalid/messages\nno;;nowhere\n"
    mari.page.set_input_files("#id_file", {"name": "list.csv", "mimeType": "text/csv", "buffer": text})
    mari.page.click("#content input[type=submit]")
    mari.page.wait_for_selector("text=Nothing is written yet")
    assert "bot-0" in mari.page.inner_text("main")
    check_as_it_is(mari)


def test_findings_are_found(mari: Someone) -> None:
    mari.open("/admin/password_change/")
    mari.page.evaluate("document.querySelectorAll('main label').forEach(each => each.remove())")
    assert any("label" in each for each in mari.findings())
