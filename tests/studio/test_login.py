"""The studio on a server that others can reach, under a name, behind its token."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.server.running import TOKEN, running
from tests.studio.conftest import ELSEWHERE, Studio
from tests.studio.test_access import violations

pytest.importorskip("playwright")

STEPS = {"prompt": "a red apple", "count": 1, "settings": {"width": 32, "height": 32, "steps": 60}}


def test_the_token_is_asked_for_once(browser: Any, tmp_path: Path) -> None:
    """After that everything works: events, previews, pictures, a second tab; without https, as in most homes."""
    with running(tmp_path, host="0.0.0.0", names=(ELSEWHERE,), token=TOKEN) as server:
        context = browser.new_context(accept_downloads=True)
        studio = Studio(context.new_page(), f"http://{ELSEWHERE}:{server.port}")
        page = studio.page
        studio.open(STEPS)
        assert not page.evaluate("window.isSecureContext")
        dialog = page.get_by_role("dialog", name="This server wants its token")
        dialog.get_by_label("Token").fill("not-the-token-at-all")
        dialog.get_by_role("button", name="Enter").click()
        dialog.get_by_text("That is not the token.").wait_for()
        assert violations(page) == []
        dialog.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        dialog.wait_for(state="hidden")
        studio.wrong = [line for line in studio.wrong if not re.search("40[13]", line)]
        page.get_by_text(re.compile(r"^\d+ of 75 tokens$")).wait_for()
        studio.make()
        page.get_by_text(re.compile(r"^Step \d+ of 60$")).wait_for()
        picture = studio.made()
        second = Studio(context.new_page(), studio.url)
        second.page.goto(f"{studio.url}/#/gallery?picture={picture}")
        second.page.wait_for_selector(".recipe")
        with second.page.expect_download() as download:
            second.page.get_by_label("Download").click()
        assert Path(download.value.path()).read_bytes() == server.service.library.file(picture).read_bytes()
        context.close()
        # Without https a browser says that it leaves this header out.
        assert [line for line in studio.wrong + second.wrong if "Cross-Origin-Opener-Policy" not in line] == []
