"""Plans for teaching a finished model something of one's own: a subject or a style, from a few pictures.

What they share with the training of whole models is in `plans`. Three methods differ in what learns: a low-rank adapter
(LoRA), the networks themselves (DreamBooth), or a few vectors that stand for new words (textual inversion).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from impasto.adapters.trainable import LoRAConfig
from impasto.schema import Digest, Frozen
from impasto.training.buckets import BucketPlan
from impasto.training.plans import OptimiserPlan, Positive, Share, TrainingPlan

Rate = Annotated[float, Field(ge=0, le=1000)]
Words = Annotated[str, Field(min_length=1, max_length=400)]


class Wording(Frozen):
    """How a picture becomes words.

    Attributes:
        subject: what the pictures show, such as `zwx fox`; put before captions that do not say it.
        style: whose style they have, such as `openmoji`; ", openmoji style" is put behind captions that do not say it.
        templates: sentences with the slot {words}; one is drawn for each picture.
        dropout: share of pictures that are learned without words.
        shuffle: put the parts of a caption, between commas, in another order each time.
        keep: how many parts at the beginning stay where they are.
    """

    subject: Words | None = None
    style: Words | None = None
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("{words}",)
    dropout: Share = 0.0
    shuffle: bool = False
    keep: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _slots(self) -> Self:
        if odd := [template for template in self.templates if "{words}" not in template]:
            raise ValueError(f"templates need the slot {{words}}: {odd}")
        return self


class PriorPlan(Frozen):
    """Pictures of the class that the subject belongs to, which the model makes itself and is to keep making.

    Attributes:
        prompt: of the class, such as `fox`.
        pictures: how many.
        weight: of their loss.
        steps: of the sampler that makes them; None for the model's own settings.
        guidance: None for the model's own settings.
    """

    prompt: Words
    pictures: Positive = 100
    weight: Annotated[float, Field(ge=0)] = 1.0
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None


class SamplePlan(Frozen):
    """What the sample sheets show.

    Attributes:
        prompts: a picture each; by itself a few with the subject or style in them.
        steps: of the sampler; None for the model's own settings.
        guidance: None for the model's own settings.
    """

    prompts: tuple[str, ...] = ()
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None


class TeachingOptimiser(OptimiserPlan):
    """How what learns follows the gradient; as the peers' scripts have it, where a plan does not say."""

    betas: tuple[Share, Share] = (0.9, 0.999)
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Literal["cosine", "linear", "constant"] = "constant"


class TeachingPlan(TrainingPlan):
    """What the three methods share. There is one stage; its size is the side of a square of the pictures' area.

    Attributes:
        base: digest of the model that is taught; None for whichever is given.
        wording: how a picture becomes words.
        buckets: in which sizes pictures are learned.
        repeats: how often each picture is seen in an epoch, beside what a corpus says of it.
        flip: mirror half of the pictures.
        masked: count only what a picture's mask shows (`fox.mask.png` beside it, or else its transparency).
        held_out: share of the pictures that are kept for the validation loss; less than one picture is none.
        accumulate: batches a step, one after the other; several processes share them.
        checkpointing: recompute the blocks' insides on the way back, which takes less memory and more time.
        min_snr: bound of min-SNR weighting (Hang et al. 2303.09556; 5 there); None for none.
        offset_noise: strength of noise that is the same all over a channel, for very dark and bright pictures; 0.1 is
            usual.
        text_encoder_rate: learning rate of the text encoder, as a share of the optimiser's.
        embedding_rate: of the vectors of new words, as a share of the optimiser's.
        prior: pictures of the subject's class to keep; None for none.
        samples: what the sample sheets show.
        ema: none by itself: few steps are made.
        licence: SPDX expression of what is made; unknown unless somebody says it.
    """

    base: Digest | None = None
    wording: Wording = Wording()
    buckets: BucketPlan = BucketPlan()
    repeats: Positive = 1
    flip: bool = False
    masked: bool = False
    held_out: Share = 0.1
    accumulate: Positive = 1
    checkpointing: bool = False
    min_snr: Annotated[float, Field(gt=0)] | None = None
    offset_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    text_encoder_rate: Rate = 0.5
    embedding_rate: Rate = 1.0
    prior: PriorPlan | None = None
    samples: SamplePlan = SamplePlan()
    optimiser: TeachingOptimiser = TeachingOptimiser()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    channels_last: bool = False
    licence: str = "unknown"
    kind: str

    @property
    def pieces(self) -> int:
        """Batches a step."""
        return self.accumulate

    @property
    def texts_change(self) -> bool:
        """Whether what the text encoder gives for a caption changes while this is learned."""
        raise NotImplementedError

    def rate(self, name: str) -> float:
        """Return the learning rate of the parameter called `name`, as a share of the optimiser's."""
        if name.startswith("embedding."):
            return self.embedding_rate
        return self.text_encoder_rate if "text_encoder." in name else 1.0

    @model_validator(mode="after")
    def _one_stage(self) -> Self:
        if len(self.stages) != 1:
            raise ValueError(f"one stage is needed, not {len(self.stages)}")
        return self


class LoraPlan(TeachingPlan):
    """Teach a low-rank adapter.

    Attributes:
        kind: what this plan is for.
        adapter: which layers learn.
    """

    kind: Literal["lora"] = "lora"
    adapter: LoRAConfig = LoRAConfig()

    @property
    def texts_change(self) -> bool:
        """Whether what the text encoder gives for a caption changes while this is learned."""
        return "text_encoder" in self.adapter.parts


class DreamboothPlan(TeachingPlan):
    """Teach the networks themselves, or a low-rank adapter, a subject under a rare word.

    Attributes:
        kind: what this plan is for.
        adapter: which layers learn; None for whole networks.
        text_encoder: whether the text encoder learns too, where whole networks do.
    """

    kind: Literal["dreambooth"] = "dreambooth"
    adapter: LoRAConfig | None = None
    text_encoder: bool = False

    @property
    def texts_change(self) -> bool:
        """Whether what the text encoder gives for a caption changes while this is learned."""
        return "text_encoder" in self.adapter.parts if self.adapter else self.text_encoder


class InversionPlan(TeachingPlan):
    """Teach vectors that stand for a new word, all else staying as it is (Gal et al. 2208.01618).

    Attributes:
        kind: what this plan is for.
        word: that the vectors stand for; it has to be in `wording.subject` or `wording.style`.
        vectors: how many.
        begin: words to begin from, such as `fox`; the vectors begin as those of its tokens, in turn.
        adapter: layers that learn with them (pivotal tuning, Roich et al. 2106.05744); None for vectors alone.
    """

    kind: Literal["textual-inversion"] = "textual-inversion"
    word: Annotated[str, Field(pattern=r"^\S{1,64}$")]
    vectors: Annotated[int, Field(ge=1, le=75)] = 1
    begin: Words | None = None
    adapter: LoRAConfig | None = None

    @property
    def texts_change(self) -> bool:
        """Whether what the text encoder gives for a caption changes while this is learned."""
        return True

    @model_validator(mode="after")
    def _word_is_said(self) -> Self:
        said = " ".join(filter(None, (self.wording.subject, self.wording.style)))
        if self.word not in said:
            raise ValueError(f"`wording.subject` or `wording.style` must say the word {self.word!r}; they say {said!r}")
        return self


PLANS: dict[str, type[TeachingPlan]] = {
    "lora": LoraPlan,
    "dreambooth": DreamboothPlan,
    "textual-inversion": InversionPlan,
}
"""The plan of each method, by the name that `kind` gives it."""
