from __future__ import annotations

from pathlib import Path

import pytest

from impasto.errors import InvalidPlan
from impasto.schema import Frozen
from impasto.training import plans
from impasto.training.plans import AutoencoderPlan, ModelPlan, WordsPlan
from tests.training import tiny

ROOT = Path(__file__).parents[2]
PLANS = {"autoencoder": AutoencoderPlan, "model": ModelPlan, "words": WordsPlan}


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*/*.toml")), ids=lambda file: file.stem)
def test_the_plans_that_are_shipped_parse(file: Path) -> None:
    kind = next((kind for kind in PLANS if f'kind = "{kind}"' in file.read_text().splitlines()), None)
    if kind is None:
        pytest.skip("a plan or policy of a corpus, tested there")
    plan = plans.read(PLANS[kind], file)
    assert plan.steps > 0
    shapes = {"model": "spec", "autoencoder": "config", "words": "teacher"}
    assert isinstance(getattr(plan, shapes[kind]), Frozen)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 1}, "learning_rate"),
        ({"model": "glyf"}, "choose one of: glyph"),
        ({"stages": []}, "stages"),
        ({"stages": [{"size": 30, "batch": 1, "steps": 1}]}, "no multiples of the autoencoder's factor 4"),
        ({"decoder_only": True}, "decoder_only needs `start`"),
        ({"backgrounds": {"white": 0.8, "named": 0.3}}, "together exceed 1"),
        ({"kind": "model"}, "kind"),
        ({"optimiser": {"learning_rate": float("nan")}}, "learning_rate"),
    ],
)
def test_a_wrong_plan_is_one_error_that_names_what_is_wrong(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidPlan, match=r"plan\.toml is not valid") as error:
        AutoencoderPlan.parse(tiny.autoencoder(**changes), "plan.toml", InvalidPlan)
    assert said in str(error.value)


def test_stages_follow_one_another() -> None:
    plan = tiny.autoencoder_plan(stages=[{"size": 16, "batch": 4, "steps": 3}, {"size": 32, "batch": 2, "steps": 2}])
    assert [(stage.size, seen) for stage, seen in map(plan.place, range(5))] == [
        (16, 0),
        (16, 4),
        (16, 8),
        (32, 12),
        (32, 14),
    ]


def test_a_list_of_concepts_becomes_part_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("fox\nowl  # both kinds\n")
    file = tmp_path / "plan.toml"
    file.write_text(tiny.toml(tiny.model()) + '[select]\nconcepts = "names.txt"\n')
    plan = plans.read(ModelPlan, file)
    assert plan.select.concepts == ("fox", "owl")
    (tmp_path / "names.txt").write_text("fox\n")
    assert plans.read(ModelPlan, file).digest != plan.digest
    (tmp_path / "names.txt").unlink()
    with pytest.raises(InvalidPlan, match=r"names\.txt"):
        plans.read(ModelPlan, file)
