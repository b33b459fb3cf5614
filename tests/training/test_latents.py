from __future__ import annotations

from pathlib import Path

import torch

from impasto.corpus import dataset
from impasto.corpus.store import Corpus
from impasto.models.vae import AutoencoderKL, VAEConfig
from impasto.training import latents
from impasto.training.drawings import COLOURS, laid_on, white
from impasto.training.latents import PALETTE, Variants
from tests.training import tiny


def test_half_of_the_variants_are_white_and_no_colour_comes_twice() -> None:
    may_mirror = torch.arange(50) < 40
    variants = Variants.draw(may_mirror, 6, seed=1)
    assert (variants.colours[:, :3] == -1).all()
    assert ((variants.colours[:, 3:] >= 0) & (variants.colours[:, 3:] < len(PALETTE))).all()
    assert all(len(set(row.tolist())) == 3 for row in variants.colours[:, 3:])
    assert variants.mirror[:40, :3].tolist() == [[False, True, False]] * 40
    assert 30 < variants.mirror[:, 3:].sum() < 90
    assert not variants.mirror[40:].any()


def test_latents_are_those_of_the_variants(corpus: Path) -> None:
    drawings = dataset.load(Corpus.open(corpus))
    config = VAEConfig.model_validate(tiny.VAE | {"scaling_factor": 0.5})
    vae = AutoencoderKL(config).eval()
    variants = Variants.draw(torch.ones(len(drawings.rows), dtype=torch.bool), 4, seed=0)
    encoded = torch.cat(list(latents.encode(vae, drawings, variants))).unflatten(0, (-1, 4))
    with torch.no_grad():
        plain = vae.encode(laid_on(drawings.images, white(len(drawings.rows)))).mode() * 0.5
        mirrored = vae.encode(laid_on(drawings.images.flip(-1), white(len(drawings.rows)))).mode() * 0.5
        behind = torch.tensor(COLOURS[PALETTE[int(variants.colours[2, 3])]], dtype=torch.uint8)
        drawing = drawings.images[2:3].flip(-1) if variants.mirror[2, 3] else drawings.images[2:3]
        coloured = vae.encode(laid_on(drawing, behind[None])).mode() * 0.5
    torch.testing.assert_close(encoded[:, 0], plain)
    torch.testing.assert_close(encoded[:, 1], mirrored)
    torch.testing.assert_close(encoded[2, 3], coloured[0])


def test_what_is_kept_is_found_under_its_key_only(tmp_path: Path) -> None:
    values = torch.randn(3, 2, 4, 4, 4).half()
    assert latents.cached(tmp_path / "l.safetensors", "key") is None
    latents.keep(tmp_path / "l.safetensors", "key", values)
    found = latents.cached(tmp_path / "l.safetensors", "key")
    assert found is not None
    assert torch.equal(found, values)
    assert latents.cached(tmp_path / "l.safetensors", "other") is None
