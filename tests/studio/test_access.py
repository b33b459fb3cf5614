"""Who can use the studio: contrast and names as WCAG 2.2 AA wants them, keys, a phone's width, dark and light."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.running import Running
from tests.studio.conftest import Studio

pytest.importorskip("playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
PHONE = {"width": 390, "height": 844}


def violations(page: Any) -> list[str]:
    """Return what axe finds, each rule with the first element that breaks it."""
    # What fades in is measured when it is there.
    page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => null)))")
    found = axe.Axe().run(page, options=RULES).response["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:150]} {rule['nodes'][0]['failureSummary']}" for rule in found]


@pytest.fixture(params=["light", "dark"])
def lit(request: pytest.FixtureRequest, browser: Any, server: Running) -> Iterator[Studio]:
    context = browser.new_context(viewport=PHONE if request.param == "dark" else None, color_scheme=request.param)
    studio = Studio(context.new_page(), server.url)
    yield studio
    context.close()
    assert not studio.wrong


def test_every_page_can_be_read_and_named(lit: Studio) -> None:
    """In light at a desktop's width, in dark at a phone's."""
    page = lit.page
    lit.open({"prompt": "a red apple", "count": 1, "settings": {"width": 32, "height": 32}})
    lit.make()
    lit.made()
    assert violations(page) == []
    assert not wider_than_the_window(page)
    lit.open(
        {
            "prompt": "a red apple",
            "grid": {"on": True, "x": {"name": "steps", "values": "1"}, "y": {"name": "", "values": ""}},
        },
        {"full": True},
    )
    page.get_by_text("Compare settings side by side").wait_for()
    assert violations(page) == []
    assert not wider_than_the_window(page)
    page.get_by_role("link", name="Gallery").click()
    page.locator(".wall .tile").first.click()
    page.wait_for_selector(".origin .hint")
    assert violations(page) == []
    lit.button("Send to edit").click()
    page.wait_for_selector(".sheet img")
    assert violations(page) == []
    assert not wider_than_the_window(page)
    page.get_by_role("button", name="Queue").click()
    page.get_by_text("Nothing is being made right now.").wait_for()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    assert violations(page) == []


def wider_than_the_window(page: Any) -> bool:
    """Whether the page would have to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def test_the_dark_can_be_chosen_and_is_kept(studio: Studio) -> None:
    studio.open()
    light = studio.page.evaluate("getComputedStyle(document.body).color")
    for _ in range(2):
        studio.page.get_by_role("button", name="Light:").click()
    studio.page.reload()
    studio.page.wait_for_selector("#prompt")
    assert studio.page.evaluate("getComputedStyle(document.body).color") != light


NAME = "(at => at.getAttribute('aria-label') || at.innerText || at.id)(document.activeElement)"


def test_the_tab_key_leads_from_the_prompt_to_everything_that_makes_a_picture(studio: Studio) -> None:
    studio.open()
    studio.page.focus("#prompt")
    seen = []
    for _ in range(6):
        studio.page.keyboard.press("Tab")
        seen.append(studio.page.evaluate(NAME))
    assert seen.index("Make") == seen.index("All controls") - 1
