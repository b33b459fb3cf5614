"""What can be chosen besides words: adapters, embeddings, the seed and variations of it."""

from __future__ import annotations

import pytest

from impasto.pictures import png
from tests.server.running import Running
from tests.studio.conftest import Studio

pytest.importorskip("playwright")

SMALL = {"prompt": "a red apple", "count": 1, "settings": {"width": 32, "height": 32, "steps": 2}}
FULL = {"full": True}

SHOWN = "image => image.complete && image.naturalWidth > 0"


def test_adapters_have_pictures_and_weights(studio: Studio, server: Running) -> None:
    page = studio.page
    studio.open(SMALL, FULL)
    page.get_by_role("button", name="Adapters").click()
    studio.button("Add an adapter").click()
    menu = page.get_by_role("menu")
    listed = [text.splitlines() for text in menu.get_by_role("menuitem").all_inner_texts()]
    assert [(name, about.split()[0]) for *_, name, about in listed] == [
        *(("Thick Ink", "LoRA"), ("wash", "LoRA")),
        ("moss", "embedding"),
    ]
    page.wait_for_function(f"() => ({SHOWN})(document.querySelector('[role=menu] img'))")
    menu.get_by_role("menuitem", name="Thick Ink").click()
    page.wait_for_function(f"() => ({SHOWN})(document.querySelector('.adapter img'))")
    page.get_by_role("slider", name="Thick Ink").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="inked").click()
    studio.button("Add an adapter").click()
    menu.get_by_role("menuitem", name="moss").click()
    assert page.input_value("#prompt") == "a red apple, inked, moss"
    studio.make()
    picture = studio.made()
    recipe = png.read_recipe(server.service.library.file(picture))
    assert [(use.name, use.weight) for use in recipe.adapters] == [("ink", 0.8)]
    assert [word.name for word in recipe.embeddings] == ["moss"]
    page.locator(".work > .bare").click()
    page.get_by_role("region", name="Recipe").get_by_text("ink \N{MULTIPLICATION SIGN} 0.8").wait_for()
    origin = page.get_by_role("region", name="Made from")
    assert origin.get_by_title(recipe.adapters[0].identity).count() == 1
    origin.get_by_text("What it learned from is not known.").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Same seed").click()
    page.get_by_text("Its recipe and seed are in the controls.").wait_for()
    assert page.get_by_role("slider", name="Thick Ink").input_value() == "0.8"


def test_a_seed_is_rolled_and_kept_and_varied(studio: Studio, server: Running) -> None:
    page = studio.page
    studio.open(SMALL, FULL)
    page.get_by_role("button", name="Seed").first.click()
    studio.button("Roll the dice").click()
    seed = int(page.get_by_role("textbox", name="Seed", exact=True).input_value())
    assert page.get_by_role("button", name="Keep this seed").get_attribute("aria-pressed") == "true"
    studio.make()
    first = studio.made()
    studio.button("Vary it a little").click()
    page.get_by_text("Its recipe is in the controls, and varies a little.").wait_for()
    studio.make()
    recipes = [png.read_recipe(server.service.library.file(id_)) for id_ in (first, studio.made())]
    assert [recipe.seed for recipe in recipes] == [seed, seed]
    assert recipes[0].variation is None
    assert recipes[1].variation
    assert recipes[1].variation.strength == 0.2
    page.get_by_role("button", name="Keep this seed").click()
    page.get_by_text("new each time").wait_for()
