"""The admin by keyboard alone: past the sidebar, through filters and menus, and forms sent; the focus is seen."""

from __future__ import annotations

import pytest

from tests.browser.portal import Someone

pytestmark = pytest.mark.slow  # a browser, and a product of its own

# Of what has the focus: how it begins, and whether a line is drawn around it or its field.
OUTLINE = """() => {
    const at = document.activeElement, field = at.closest("#toolbar form > div") || at;
    const isDrawn = each => {
        const style = getComputedStyle(each);
        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    };
    return { name: at.outerHTML.slice(0, 120), drawn: isDrawn(at) || isDrawn(field) };
}"""


def test_the_first_stop_leads_past_the_sidebar(mari: Someone) -> None:
    mari.open("/admin/participants/participant/")
    mari.page.keyboard.press("Tab")
    assert mari.focused() == "Skip to the content"
    assert mari.page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    mari.page.keyboard.press("Enter")
    assert mari.focused() == "main"
    mari.page.keyboard.press("Tab")
    assert mari.page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_wherever_the_focus_goes_it_is_seen(mari: Someone) -> None:
    mari.open("/admin/participants/participant/")
    seen = set()
    for _ in range(60):
        mari.page.keyboard.press("Tab")
        style = mari.page.evaluate(OUTLINE)
        assert style["drawn"], style["name"]
        seen.add(style["name"])
    assert len(seen) > 40


def test_a_filter_opens_and_closes(mari: Someone) -> None:
    mari.open("/admin/relay/delivery/")
    mari.page.locator(".dmr-filter summary").first.focus()
    mari.page.keyboard.press("Enter")
    assert mari.page.locator(".dmr-filter").first.get_attribute("open") is not None
    mari.page.keyboard.press("Escape")
    assert mari.page.locator(".dmr-filter").first.get_attribute("open") is None
    mari.page.keyboard.press("Enter")
    for _ in range(2):
        mari.page.keyboard.press("Tab")
    with mari.page.expect_navigation():
        mari.page.keyboard.press("Enter")
    assert "state__exact=pending" in mari.page.url


def test_the_menu_of_a_narrow_window(mari: Someone) -> None:
    mari.open("/admin/", narrow=True)
    sidebar = mari.page.locator("#nav-sidebar")
    assert not sidebar.is_visible()
    mari.page.get_by_role("button", name="Menu", exact=True).focus()
    mari.page.keyboard.press("Enter")
    assert sidebar.is_visible()
    mari.page.keyboard.press("Escape")
    assert not sidebar.is_visible()


def test_language_and_brightness_are_switched(mari: Someone) -> None:
    mari.open("/admin/")
    mari.page.locator(".dmr-user summary").focus()
    mari.page.keyboard.press("Enter")
    mari.page.get_by_role("button", name="Dark").focus()
    mari.page.keyboard.press("Enter")
    assert "dark" in (mari.page.locator("html").get_attribute("class") or "")
    mari.page.get_by_role("button", name="System").press("Enter")
    with mari.page.expect_navigation():
        mari.page.get_by_role("button", name="Eesti").press("Enter")
    assert mari.page.locator("html").get_attribute("lang") == "et"
    mari.page.locator(".dmr-user summary").press("Enter")
    with mari.page.expect_navigation():
        mari.page.get_by_role("button", name="English").press("Enter")
    assert mari.page.locator("html").get_attribute("lang") == "en"


def test_a_form_is_filled_and_sent(mari: Someone) -> None:
    mari.open("/admin/participants/room/add/")
    mari.page.locator("#id_name").focus()
    mari.page.keyboard.type("by keyboard")
    with mari.page.expect_navigation():
        mari.page.keyboard.press("Enter")
    assert "by keyboard" in mari.page.inner_text("main")


def test_an_action_is_run(mari: Someone) -> None:
    mari.open("/admin/participants/apikey/")
    mari.page.locator("input.action-select").nth(1).focus()
    mari.page.keyboard.press("Space")
    choice = mari.page.locator("select[name=action]")
    choice.focus()
    choice.select_option("revoke")
    with mari.page.expect_navigation():
        mari.page.locator("button[name=index]").press("Enter")
    assert "1 will change" in mari.page.inner_text("main")
    mari.page.locator("[name=reason]").focus()
    mari.page.keyboard.type("it leaked")
    with mari.page.expect_navigation():
        mari.page.keyboard.press("Enter")
    assert "1 revoked" in mari.page.inner_text("main")
