"""The gallery, after the server that made its pictures has stopped and another one has started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impasto.corpus.store import Corpus
from impasto.pictures import png
from tests.server.running import running
from tests.server.test_origin import learned
from tests.server.test_origin import trained as trained  # a fixture: a model beside the corpus that it learned from
from tests.studio.conftest import Studio

pytest.importorskip("playwright")


def test_pictures_and_their_makers_are_found_again_after_a_restart(
    browser: Any, tmp_path: Path, trained: tuple[Path, Corpus]
) -> None:
    model, corpus = trained
    with running(tmp_path, models=(str(model),)) as server:
        context = browser.new_context()
        studio = Studio(context.new_page(), server.url)
        studio.open({"prompt": "a red apple", "count": 3, "settings": {"width": 32, "height": 32, "steps": 2}})
        studio.page.get_by_role("radio", name="soft").click()
        studio.make()
        studio.page.locator(".works .tile img").nth(2).wait_for()
        context.close()
    with running(tmp_path, models=(str(model),)) as server:
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
        origin = studio.page.get_by_role("region", name="Made from")
        rows = learned(corpus)
        origin.get_by_text(f"{len(rows)} pictures, used under the licence that their makers chose").wait_for()
        origin.get_by_text(f"{len(learned(corpus, 'aa', 'bb'))} works, {len(rows)} for its autoencoder").wait_for()
        for row in rows:
            assert origin.get_by_text(row.maker.name).count()
            assert origin.get_by_text(row.licence.spdx).count()
        assert origin.get_by_title(corpus.root).count() == 1
        studio.page.keyboard.press("s")
        studio.page.wait_for_selector(".star[data-selected]")
        with studio.page.expect_download() as download:
            studio.page.get_by_label("Download").click()
        assert png.read_recipe(download.value.path()).prompt == "a red apple, soft style"
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
