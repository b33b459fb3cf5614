"""Train the autoencoder: L1 on pixels and on their differences, a KL term, and latents that turn with their pictures.

Source: Rombach et al. 2022 (the KL-regularised autoencoder), without perceptual or adversarial parts: those need a
network trained on other people's pictures, and flat drawings do well without. EQ-VAE: Kouzelis et al. 2502.09509.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.corpus.dataset import Drawings
from impasto.corpus.record import Row
from impasto.models.vae import AutoencoderKL
from impasto.pictures.sheet import contact_sheet
from impasto.schema import digest
from impasto.training.data import TrainingData
from impasto.training.drawings import backgrounds, cropped, laid_on, mirrored, white
from impasto.training.draws import generator, shuffled
from impasto.training.initial import fresh
from impasto.training.loop import Loss, autocast
from impasto.training.plans import AutoencoderPlan, Stage

VALIDATION_ROWS = 64
SHEET_ROWS = 24


class AutoencoderTask:
    """An autoencoder learning from drawings (see `loop.Task`).

    Attributes:
        plan: what is learned.
        modules: `{"vae": AutoencoderKL}`.
        identity: digest of plan and data.
    """

    def __init__(
        self,
        plan: AutoencoderPlan,
        data: TrainingData,
        start: AutoencoderKL | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Prepare training on `data`, from random weights or from those of `start`."""
        self.plan, self.data = plan, data
        self.device = torch.device(device)
        vae = start if start is not None else fresh(lambda: AutoencoderKL(plan.config), plan.seed, "vae")
        if plan.decoder_only:
            vae.encoder.requires_grad_(requires_grad=False)
            vae.quant_conv.requires_grad_(requires_grad=False)
        memory_format = torch.channels_last if plan.channels_last else torch.contiguous_format
        self.modules = nn.ModuleDict({"vae": vae.to(self.device).to(memory_format=memory_format)})  # type: ignore[call-overload]  # torch's own overloads lack it
        self.identity = digest({"plan": plan.plain(), "rows": data.use.plain()})

    def loss(self, step: int) -> Loss:
        """Return the reconstruction loss on the batch that belongs to `step`."""
        stage, seen = self.plan.place(step)
        pictures = self._pictures(stage, seen, step)
        noise = torch.randn(self._latent_shape(stage), generator=generator(self.plan.seed, "posterior", step))
        vae: AutoencoderKL = self.modules["vae"]  # type: ignore[assignment]  # ModuleDict forgets
        with autocast(self.plan.precision, self.device):
            with torch.set_grad_enabled(not self.plan.decoder_only):
                posterior = vae.encode(pictures)
                latents = posterior.sample(noise.to(self.device))
            latents, target = self._moved(latents, pictures, step)
            decoded = vae.decode(latents).float()
        pixels, gradients = F.l1_loss(decoded, target), gradient_loss(decoded, target)
        kl = posterior.kl().mean() / noise[0].numel()
        value = pixels + self.plan.gradient_weight * gradients
        if not self.plan.decoder_only:
            value = value + self.plan.kl_weight * kl
        parts = {"pixels": float(pixels.detach()), "gradients": float(gradients.detach()), "kl": float(kl.detach())}
        return Loss(value, stage.batch, parts)

    def _latent_shape(self, stage: Stage) -> tuple[int, int, int, int]:
        config = self.plan.config
        side = stage.size // config.factor
        return stage.batch, config.latent_channels, side, side

    def _pictures(self, stage: Stage, seen: int, step: int) -> Tensor:
        draw = generator(self.plan.seed, "pictures", step)
        images = self.data.train.images
        rows = images[shuffled(self.plan.seed, seen, stage.batch, len(images))]
        rows = cropped(rows, stage.size, draw)
        if self.plan.flip:
            rows = mirrored(rows, torch.rand(stage.batch, generator=draw) < 0.5)
        behind = self.plan.backgrounds
        pictures = laid_on(rows, backgrounds(stage.batch, behind.white, behind.named, draw))
        memory_format = torch.channels_last if self.plan.channels_last else torch.contiguous_format
        return pictures.to(self.device, memory_format=memory_format)

    def _moved(self, latents: Tensor, pictures: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Turn and shrink latents and pictures alike, in the plan's share of the steps."""
        draw = generator(self.plan.seed, "equivariance", step)
        if float(torch.rand((), generator=draw)) >= self.plan.equivariance.share:
            return latents, pictures
        sides = [round(latents.shape[-1] * scale) for scale in self.plan.equivariance.scales]
        side = max(1, sides[int(torch.randint(len(sides), (), generator=draw))])
        turns = int(torch.randint(4, (), generator=draw))
        pictures = resized(pictures, side * self.plan.config.factor)
        return torch.rot90(resized(latents, side), turns, (2, 3)), torch.rot90(pictures, turns, (2, 3))

    def validate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Return the PSNR in dB, mean over held-out drawings on white, of pictures decoded from the mean latents."""
        if self.data.held_out is None:
            return {}
        originals, decoded = self._reconstructed(modules, VALIDATION_ROWS)
        return {"psnr": float(psnr(originals, decoded).mean())}

    def sheet(self, modules: nn.ModuleDict, title: str) -> Image.Image:
        """Return held-out drawings (training ones where none are held out), each beside its reconstruction."""
        originals, decoded = self._reconstructed(modules, SHEET_ROWS)
        pairs = [as_image(side) for pair in zip(originals, decoded, strict=True) for side in pair]
        captions = [text for row in self._shown(SHEET_ROWS)[0] for text in (row.caption.text, "decoded")]
        return contact_sheet(pairs, captions, title=title, columns=8)

    def _shown(self, count: int) -> tuple[list[Row], Tensor]:
        """Return the same `count` rows at every call, and their images."""
        source = self.data.held_out or self.data.train
        count = min(count, len(source.rows))
        chosen = shuffled(0, 0, count, len(source.rows))
        return [source.rows[index] for index in chosen.tolist()], source.images[chosen]

    @torch.no_grad()
    def _reconstructed(self, modules: nn.ModuleDict, count: int) -> tuple[Tensor, Tensor]:
        vae: AutoencoderKL = modules["vae"]  # type: ignore[assignment]  # ModuleDict forgets
        _, images = self._shown(count)
        pictures = laid_on(images, white(len(images)))
        decoded = [vae.decode(vae.encode(part.to(self.device)).mode()).cpu() for part in pictures.split(8)]
        return pictures, torch.cat(decoded).clamp(-1, 1)


def gradient_loss(decoded: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of the differences between neighbouring pixels, both ways."""
    across = F.l1_loss(decoded.diff(dim=-1), target.diff(dim=-1))
    down = F.l1_loss(decoded.diff(dim=-2), target.diff(dim=-2))
    return across + down


def resized(pictures: Tensor, side: int) -> Tensor:
    """Return `pictures` (B, C, H, W) at `side` x `side`, bilinear with antialiasing."""
    if pictures.shape[-1] == side:
        return pictures
    return F.interpolate(pictures, (side, side), mode="bilinear", antialias=True)


def psnr(originals: Tensor, decoded: Tensor) -> Tensor:
    """Return the (B,) peak signal-to-noise ratios in dB of pictures within [-1, 1] (peak 2)."""
    error = (originals - decoded).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp(min=1e-10))


def as_image(picture: Tensor) -> Image.Image:
    """Return the (3, H, W) `picture` within [-1, 1] as an 8-bit image."""
    values = ((picture + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())


def on_white(source: Drawings, count: int) -> Tensor:
    """Return `count` drawings (all, when there are fewer), the same at every call, on white: (N, 3, H, W)."""
    count = min(count, len(source.rows))
    return laid_on(source.images[shuffled(0, 0, count, len(source.rows))], white(count))


@torch.no_grad()
def normalise(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Fold per-channel `mean` and `std` (C,) of the latents into the weights, so that latents are normalised.

    `quant_conv` then gives (z - mean) / std, and `post_quant_conv` takes that back; pictures stay the same.
    """
    channels = len(mean)
    quant, post = vae.quant_conv, vae.post_quant_conv
    assert quant.bias is not None
    assert post.bias is not None
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.bias[channels:] -= 2 * std.log()
    post.bias += (post.weight[:, :, 0, 0] @ mean).to(post.bias)
    post.weight *= std[None, :, None, None]


@torch.no_grad()
def latent_statistics(vae: AutoencoderKL, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (C,) of the latents' means over `pictures` (B, 3, H, W)."""
    latents = torch.cat([vae.encode(part).mode().cpu() for part in pictures.split(16)])
    flat = latents.transpose(0, 1).flatten(1).double()
    return flat.mean(1).float(), flat.std(1).float()
