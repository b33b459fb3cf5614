"""The gallery, after the server that made its pictures has stopped and another one has started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impasto.pictures import png
from tests.server.running import running
from tests.studio.conftest import Studio

pytest.importorskip("playwright")


def test_pictures_are_found_again_after_a_restart(browser: Any, tmp_path: Path) -> None:
    with running(tmp_path) as server:
        context = browser.new_context()
        studio = Studio(context.new_page(), server.url)
        studio.open({"prompt": "a red apple", "count": 3, "settings": {"width": 32, "height": 32}})
        studio.make()
        studio.page.locator(".works .tile img").nth(2).wait_for()
        context.close()
    with running(tmp_path) as server:
        context = browser.new_context(accept_downloads=True)
        studio = Studio(context.new_page(), server.url)
        studio.open()
        studio.page.get_by_role("link", name="Gallery").click()
        tiles = studio.page.locator(".wall .tile")
        tiles.nth(2).wait_for()
        find = studio.page.get_by_placeholder("Search in prompts")
        find.fill("what nobody made")
        studio.page.get_by_text("No picture fits.").wait_for()
        find.fill("red apple")
        tiles.first.focus()
        second = tiles.nth(1).get_attribute("data-picture")
        studio.page.keyboard.press("ArrowRight")
        studio.page.keyboard.press("Enter")
        studio.page.wait_for_selector(".recipe")
        assert second in studio.page.url
        studio.page.get_by_text("Whose work is in it cannot be told.").wait_for()
        studio.page.keyboard.press("s")
        studio.page.wait_for_selector(".star[data-selected]")
        with studio.page.expect_download() as download:
            studio.page.get_by_label("Download").click()
        assert png.read_recipe(download.value.path()).prompt == "a red apple"
        studio.page.keyboard.press("Escape")
        studio.button("Starred").click()
        studio.page.wait_for_function("() => document.querySelectorAll('.wall .tile').length === 1")
        tiles.first.click()
        studio.button("Delete").click()
        studio.page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
        studio.page.get_by_text("The picture is deleted.").wait_for()
        assert len(server.service.library.search("", starred=None, model=None, limit=9, before=None)) == 2
        context.close()
        assert not studio.wrong
