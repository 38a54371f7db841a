"""The admin as somebody sees it in a browser, and what is wrong with what they see."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Browser, BrowserContext, Page

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
GRAVE = ("serious", "critical")
PASSWORD = "only-for-tests-0123456789"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}


@dataclass
class Someone:
    """A person at a browser. `complaints`: what the browser said was wrong, and requests to anybody but us."""

    context: BrowserContext
    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._is_ours(request.url))

    def _is_ours(self, url: str) -> None:
        if not url.startswith((f"{self.url}/", "data:")):
            self.complaints.append(f"a request to {url}")

    def open(self, path: str, *, dark: bool = False, narrow: bool = False) -> int:
        """Returns the status."""
        self.complaints.clear()
        self.page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        self.page.set_viewport_size(NARROW if narrow else WIDE)  # type: ignore[arg-type]
        answer = self.page.goto(f"{self.url}{path}")
        assert answer is not None
        self.page.wait_for_function("!document.documentElement.hasAttribute('x-cloak')")
        return answer.status

    def findings(self) -> list[str]:
        """What axe finds grave on the page, a line each."""
        self.page.evaluate(AXE)
        found: Any = self.page.evaluate("axe.run({ resultTypes: ['violations'] })")
        assert found["passes"], "axe looked at nothing"
        return [
            f"{each['impact']} {each['id']}: {node['html'][:200]}: {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in GRAVE
            for node in each["nodes"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wider

    def focused(self) -> str:
        """Of the element that has the focus: its id, or its text."""
        found: str = self.page.evaluate(
            "document.activeElement.id || document.activeElement.innerText.trim() || document.activeElement.tagName"
        )
        return found

    def leave(self) -> None:
        self.context.close()


class Portal:
    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url

    def visit(self) -> Someone:
        """Somebody whom we don't know."""
        context = self.browser.new_context(locale="en-GB")
        context.set_default_timeout(20_000)
        return Someone(context, context.new_page(), self.url)

    def log_in(self) -> Someone:
        person = self.visit()
        person.open("/admin/")
        person.page.fill("#id_username", "admin")
        person.page.fill("#id_password", PASSWORD)
        person.page.press("#id_password", "Enter")
        person.page.wait_for_url(f"{self.url}/admin/")
        return person
