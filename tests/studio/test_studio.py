"""What a person does in the studio, done in Chromium."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from impasto.pictures import png
from tests.pictures.test_comfyui import DEFAULT as WORKFLOW
from tests.server.running import Running
from tests.studio.conftest import Studio

pytest.importorskip("playwright")

SMALL = {"width": 32, "height": 32}
ONE = {"prompt": "a red apple", "count": 1, "settings": SMALL}
LONG = {"prompt": "a red apple", "count": 1, "settings": {"steps": 150}}


def test_a_picture_is_made_and_its_progress_seen(studio: Studio, server: Running) -> None:
    studio.open({"count": 1, "settings": {**SMALL, "steps": 150}})
    studio.page.fill("#prompt", "a red apple")
    studio.page.get_by_text(re.compile(r"^\d+ of 75 tokens$")).wait_for()
    studio.page.evaluate(
        """() => {
          window.seen = []
          new MutationObserver(() => {
            const bar = document.querySelector('[role=progressbar]')
            const preview = document.querySelector('.underway img')?.getAttribute('src') ?? ''
            if (bar) window.seen.push([Number(bar.getAttribute('aria-valuenow')), bar.textContent, preview])
          }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true })
        }"""
    )
    studio.known = studio.pictures()
    studio.page.keyboard.press("Control+Enter")
    picture = studio.made()
    seen = studio.page.evaluate("window.seen")
    shares = [share for share, _, _ in seen]
    assert shares == sorted(shares)
    assert any(0 < share < 100 for share in shares)
    assert any(re.match(r"Step \d+ of 150(about \d+ (s|min) left|almost there)", words) for _, words, _ in seen)
    assert len({preview for *_, preview in seen if re.match(r"/api/jobs/[^/]+/preview\?n=\d+$", preview)}) > 1
    recipe = png.read_recipe(server.service.library.file(picture))
    assert (recipe.prompt, recipe.steps, recipe.width) == ("a red apple", 150, 32)


def test_what_is_being_made_is_cancelled(studio: Studio, server: Running) -> None:
    studio.open(LONG)
    studio.make()
    studio.page.get_by_text(re.compile(r"^Step \d+ of 150$")).wait_for()
    studio.page.keyboard.press("Escape")
    studio.page.get_by_role("heading", name="Cancelled").wait_for()
    (newest, *_) = server.service.jobs(None, 1, None)
    assert newest.state == "cancelled"
    assert studio.page.input_value("#prompt") == "a red apple"


def test_a_picture_of_another_program_is_recalled(studio: Studio) -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text(
        "parameters",
        "a fox, (thick paint:1.2)\nNegative prompt: dull\n"
        "Steps: 7, Sampler: Euler a, CFG scale: 5.5, Seed: 4242, Size: 64x96, Model hash: fe4efff1e1, Model: other",
    )
    data = io.BytesIO()
    Image.new("RGB", (64, 96)).save(data, "PNG", pnginfo=told)
    studio.open()
    studio.drop(data.getvalue(), "fox.png")
    studio.page.get_by_text("The recipe of fox.png is in the controls.").wait_for()
    studio.page.get_by_text("The model other is not here.").wait_for()
    assert studio.page.input_value("#prompt") == "a fox, (thick paint:1.2)"
    assert studio.page.input_value("#negative") == "dull"
    assert studio.page.get_by_role("textbox", name="Seed", exact=True).input_value() == "4242"
    assert studio.page.get_by_text("7 steps, guidance 5.5").is_visible()
    studio.page.get_by_text("64 \N{MULTIPLICATION SIGN} 96").first.wait_for()


def test_a_workflow_is_recalled(studio: Studio) -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("prompt", json.dumps(WORKFLOW))
    data = io.BytesIO()
    Image.new("RGB", (64, 80)).save(data, "PNG", pnginfo=told)
    studio.open()
    studio.drop(data.getvalue(), "bottle.png")
    studio.page.get_by_text("The recipe of bottle.png is in the controls.").wait_for()
    studio.page.get_by_text("It was made with ComfyUI.").wait_for()
    assert studio.page.input_value("#prompt") == "a bottle"
    assert studio.page.input_value("#negative") == "text, watermark"
    assert studio.page.get_by_role("textbox", name="Seed", exact=True).input_value() == "156680208700286"
    assert studio.page.get_by_text("20 steps, guidance 8").is_visible()
    studio.button("Put the picture on the canvas too").click()
    studio.page.wait_for_selector(".sheet img")


def test_a_picture_that_says_nothing_goes_onto_the_canvas_and_stays_there(studio: Studio) -> None:
    data = io.BytesIO()
    Image.new("RGB", (72, 64), "teal").save(data, "PNG")
    studio.open()
    studio.drop(data.getvalue(), "plain.png")
    studio.page.get_by_text("plain.png is on the canvas, to be painted over.").wait_for()
    studio.page.reload()
    studio.page.wait_for_selector(".sheet img")
    assert studio.page.evaluate("document.querySelector('.sheet img').naturalWidth") == 72


def drawn(studio: Studio, *points: tuple[float, float]) -> None:
    """Draw over the canvas, from one point to the next, in shares of the picture."""
    box = studio.page.locator(".sheet").bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    studio.page.mouse.move(*places[0])
    studio.page.mouse.down()
    for place in places[1:]:
        studio.page.mouse.move(*place, steps=4)
    studio.page.mouse.up()


def masked(studio: Studio) -> float:
    """Return the share of the picture that is masked."""
    return float(
        studio.page.evaluate(
            """() => {
              const canvas = document.querySelector('.sheet canvas')
              const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
              let painted = 0
              for (let k = 3; k < data.length; k += 4) painted += data[k] > 0
              return painted / (data.length / 4)
            }"""
        )
    )


def test_a_mask_is_painted_and_its_part_made_anew(studio: Studio, server: Running) -> None:
    studio.open({"prompt": "a red apple", "count": 1})
    studio.make()
    before = studio.made()
    studio.button("Send to edit").click()
    studio.page.wait_for_selector(".sheet img")
    drawn(studio, (0.7, 0.3), (0.9, 0.3), (0.9, 0.5))
    first = masked(studio)
    assert 0.02 < first < 0.2
    drawn(studio, (0.6, 0.8), (0.9, 0.8))
    assert masked(studio) > first
    studio.page.keyboard.press("Control+z")
    assert masked(studio) == first
    studio.page.keyboard.press("Control+Shift+Z")
    assert masked(studio) > first
    zoomed = studio.page.get_by_label("Fit the picture into the window")
    fitting = zoomed.inner_text()
    studio.page.keyboard.press("+")
    assert int(zoomed.inner_text().split()[0]) > int(fitting.split()[0])
    studio.page.keyboard.press("0")
    assert zoomed.inner_text() == fitting
    studio.page.keyboard.press("e")
    drawn(studio, (0.55, 0.8), (0.95, 0.8))
    assert masked(studio) < first * 1.3
    studio.page.reload()
    studio.page.wait_for_selector(".sheet img")
    studio.make()
    after = studio.made()
    assert after != before
    old, new = (Image.open(server.service.library.file(id_)).convert("RGB") for id_ in (before, after))
    recipe = png.read_recipe(server.service.library.file(after))
    assert recipe.start
    assert recipe.mask
    assert recipe.mask.image
    changed = [(x, y) for x in range(64) for y in range(64) if old.getpixel((x, y)) != new.getpixel((x, y))]
    assert changed
    assert all(x > 24 for x, _ in changed), "far from the mask nothing changes"


def test_a_picture_is_extended(studio: Studio, server: Running) -> None:
    studio.open(ONE)
    studio.make()
    studio.made()
    studio.button("Send to edit").click()
    studio.page.get_by_role("textbox", name="right").fill("32")
    studio.page.get_by_role("textbox", name="right").press("Enter")
    studio.make()
    with Image.open(server.service.library.file(studio.made())) as wide:
        assert wide.size == (64, 32)


def test_a_recipe_is_used_again_with_its_seed(studio: Studio, server: Running) -> None:
    studio.open({**ONE, "settings": {**SMALL, "steps": 3, "guidance": 2.5}})
    studio.make()
    first = studio.made()
    studio.page.fill("#prompt", "something else")
    studio.button("Same seed").click()
    studio.page.get_by_text("Its recipe and seed are in the controls.").wait_for()
    studio.make()
    studio.page.wait_for_function(
        "id => { const a = document.querySelector('.work > .bare img'); return a && !a.src.includes(id) }", arg=first
    )
    second = studio.made()
    recipes = [png.read_recipe(server.service.library.file(id_)) for id_ in (first, second)]
    assert recipes[0].digest == recipes[1].digest
    studio.page.fill("#prompt", "something else")
    studio.drop(server.service.library.file(first).read_bytes(), "kept.png")
    studio.page.get_by_text("It was made with Impasto.").wait_for()
    assert studio.page.input_value("#prompt") == "a red apple"
    assert studio.page.get_by_text(f"fixed: {recipes[0].seed}").is_visible()
    studio.button("Use again").click()
    studio.page.get_by_text("Its recipe is in the controls, with a new seed.").wait_for()
    assert studio.page.get_by_text("new each time").is_visible()


def test_a_grid_gives_a_sheet(studio: Studio) -> None:
    """A picture for each of the four combinations, and one on which they stand side by side."""
    grid = {"on": True, "x": {"name": "steps", "values": "1, 2"}, "y": {"name": "guidance", "values": "1:3:2"}}
    studio.open({**ONE, "grid": grid}, {"full": True})
    studio.page.get_by_text("4 pictures").wait_for()
    studio.button("Make the grid").click()
    tiles = studio.page.locator(".works .tile img")
    tiles.nth(3).wait_for()
    assert tiles.count() == 4
    studio.page.wait_for_function("() => document.querySelector('.sheet-of img')?.naturalWidth > 2 * 32")


def test_a_picture_is_made_larger(studio: Studio) -> None:
    studio.open(ONE)
    studio.make()
    studio.made()
    studio.button("Enlarge").click()
    studio.button("64 \N{MULTIPLICATION SIGN} 64").click()
    studio.page.wait_for_function("() => document.querySelector('.work > .bare img')?.naturalWidth === 64")


def test_what_failed_says_why_and_is_tried_again(studio: Studio, server: Running) -> None:
    """The picture that a waiting job begins with is lost, and comes back."""
    studio.open(LONG)
    studio.make()
    studio.page.get_by_text(re.compile(r"^Step \d+ of 150$")).wait_for()
    data = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(data, "PNG")
    studio.drop(data.getvalue(), "plain.png")
    studio.page.wait_for_selector(".sheet img")
    studio.page.fill("#prompt", "a lost start")
    studio.make()
    studio.page.locator(".work .title", has_text="a lost start").wait_for()
    (waiting,) = server.service.jobs("queued", 10, None)
    lost = Path(server.service.library.source(waiting.request["start"]["image"])[0])
    kept = lost.read_bytes()
    lost.unlink()
    (running,) = server.service.jobs("running", 10, None)
    server.service.cancel(running.id)
    failed = studio.page.get_by_role("alert").filter(has_text="This one failed")
    failed.wait_for()
    studio.page.get_by_role("button", name=re.compile("^Queue")).click()
    assert studio.page.get_by_role("dialog").locator("li.failed .hint").inner_text() in failed.inner_text()
    studio.page.keyboard.press("Escape")
    lost.write_bytes(kept)
    failed.get_by_role("button", name="Try again").click()
    studio.made()
    assert server.service.job(waiting.id).state == "done"


def test_waiting_jobs_are_reordered_and_cancelled(studio: Studio, server: Running) -> None:
    studio.open(LONG)
    studio.make()
    studio.page.get_by_text(re.compile(r"^Step \d+ of 150$")).wait_for()
    for prompt in ("first", "second"):
        studio.page.fill("#prompt", prompt)
        studio.make()
        studio.page.locator(".work .title", has_text=prompt).wait_for()
    studio.page.get_by_role("button", name=re.compile("^Queue")).click()
    studio.page.get_by_role("grid", name="Waiting jobs, in order").get_by_role("row").nth(1).wait_for()
    while studio.page.evaluate("document.activeElement.role") != "row":
        studio.page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowRight", "Enter", "ArrowUp", "ArrowUp", "Enter"):
        studio.page.keyboard.press(key)
    studio.page.wait_for_function(
        "() => document.querySelector('[role=grid] [role=row] .title')?.textContent === 'second'",
    )
    until_order(studio, server, ["second", "first"])
    for _ in range(3):
        studio.page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).first.click()
        studio.page.wait_for_timeout(200)
    studio.page.get_by_text("Nothing is being made right now.").wait_for()


def until_order(studio: Studio, server: Running, prompts: list[str]) -> None:
    for _ in range(50):
        if [job.request["prompt"] for job in server.service.jobs("queued", 10, None)] == prompts:
            return
        studio.page.wait_for_timeout(100)
    raise AssertionError([job.request["prompt"] for job in server.service.jobs("queued", 10, None)])


def test_weights_of_words_by_key(studio: Studio) -> None:
    studio.open({"prompt": "a red fox"})
    studio.page.focus("#prompt")
    studio.page.keyboard.press("End")
    studio.page.keyboard.press("Control+ArrowUp")
    studio.page.keyboard.press("Control+ArrowUp")
    assert studio.page.input_value("#prompt") == "a red (fox:1.2)"
    for _ in range(3):
        studio.page.keyboard.press("Control+ArrowDown")
    assert studio.page.input_value("#prompt") == "a red (fox:0.9)"


def test_a_server_that_goes_away_is_waited_for(studio: Studio) -> None:
    studio.open(ONE)
    studio.page.route("**/api/**", lambda route: route.abort())
    studio.page.reload()
    studio.page.get_by_text("The server is away.").wait_for()
    assert studio.button("Make").is_disabled()
    assert studio.page.input_value("#prompt") == "a red apple"
    studio.page.unroute("**/api/**")
    studio.page.get_by_text("The server is away.").wait_for(state="hidden")
    studio.make()
    studio.made()
    studio.wrong = [line for line in studio.wrong if "ERR_" not in line]


def test_what_cannot_be_made_is_said_and_nothing_is_lost(studio: Studio) -> None:
    studio.open({**ONE, "settings": {"width": 60}})
    studio.make()
    studio.page.locator(".notice.wrong").wait_for()
    assert "width" in studio.page.locator(".notice.wrong").inner_text().lower()
    assert studio.page.input_value("#prompt") == "a red apple"
    studio.wrong = [line for line in studio.wrong if "422" not in line]
