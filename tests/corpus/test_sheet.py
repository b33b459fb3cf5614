from __future__ import annotations

import numpy as np
from PIL import Image

from impasto.corpus.record import Caption, Maker
from impasto.corpus.sheet import Entry, picture_sheet
from tests.corpus.icons import row


def test_every_drawing_is_on_the_sheet() -> None:
    colours = ["#ff0000", "#00ff00", "#0000ff"]
    entries = [Entry(row(), Image.new("RGBA", (128, 128), colour)) for colour in colours]
    sheet = np.asarray(picture_sheet(entries, "Title", "Subtitle", columns=2)).reshape(-1, 3)
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert (sheet == colour).all(1).sum() == 128 * 128


def test_names_of_any_length_and_script_fit() -> None:
    long = row(maker=Maker(name="creativeLabs Łukasz Holeczek " * 9), caption=Caption(text="狐" * 90, source="human"))
    sheet = picture_sheet([Entry(long, Image.new("RGBA", (300, 20)))], "T" * 300, "")
    assert sheet.mode == "RGB"
