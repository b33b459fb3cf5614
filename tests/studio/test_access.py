"""Who can use the studio: contrast and names as WCAG 2.2 AA wants them, keys, a phone's width, dark and light."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.running import Running
from tests.studio.conftest import HUNG, Studio

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
    lit.open(
        {"prompt": "a red apple", "adapters": [{"id": "ink", "weight": 1}], "settings": {"width": 60}}, {"full": True}
    )
    page.get_by_role("slider", name="Thick Ink").wait_for()
    lit.make()
    page.locator(".notice.wrong").wait_for()
    assert violations(page) == []
    assert not wider_than_the_window(page)
    lit.wrong = [line for line in lit.wrong if "422" not in line]


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


def test_a_picture_is_made_looked_at_and_deleted_without_a_mouse(studio: Studio, server: Running) -> None:
    page = studio.page
    studio.open({"count": 1, "settings": {"width": 32, "height": 32}})
    page.keyboard.press("/")
    page.keyboard.type("a red apple")
    studio.known = studio.pictures()
    page.keyboard.press("Control+Enter")
    picture = studio.made()
    reach(page, "Look at it closely")
    page.keyboard.press("Enter")
    page.wait_for_selector(".recipe")
    page.keyboard.press("s")
    page.wait_for_selector(".star[data-selected]")
    assert server.service.picture(picture).starred
    page.keyboard.press("Delete")
    page.get_by_role("alertdialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("alertdialog").wait_for(state="hidden")
    page.keyboard.press("Delete")
    reach(page, "Delete")
    page.keyboard.press("Enter")
    page.get_by_text("The picture is deleted.").wait_for()
    page.wait_for_selector(".viewer", state="detached")
    assert picture not in studio.pictures()
    studio.wrong = [line for line in studio.wrong if "404" not in line]  # the stage still asks for it


def reach(page: Any, name: str) -> None:
    """Press Tab until what has this name has the focus."""
    for _ in range(60):
        if page.evaluate(NAME) == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {name!r}")


def test_a_picture_is_made_and_masked_on_a_phone(browser: Any, server: Running) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    studio = Studio(context.new_page(), server.url)
    page = studio.page
    studio.open({"prompt": "a red apple", "count": 1, "settings": {"width": 32, "height": 32}}, {"full": True})
    assert studio.button("Make").bounding_box()["y"] < PHONE["height"] - 60, "in sight, above the bar of pages"
    studio.known = studio.pictures()
    studio.button("Make").tap()
    studio.made()
    page.wait_for_function(
        "hung => { const at = document.querySelector(hung).getBoundingClientRect();"
        " return at.top >= 0 && at.bottom <= innerHeight }",
        arg=HUNG,
    )
    studio.button("Send to edit").tap()
    page.wait_for_selector(".sheet img")
    page.get_by_test_id("canvas").tap()
    page.get_by_role("button", name="Start picture masked part").wait_for()
    assert not wider_than_the_window(page)
    page.get_by_role("link", name="Gallery").tap()
    page.locator(".wall .tile").first.tap()
    page.wait_for_selector(".origin")
    context.close()
    assert not studio.wrong
