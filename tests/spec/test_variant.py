"""Variants are named for what makes them another experiment, and no two different ones alike."""

from __future__ import annotations

import pytest

from specc.spec.variant import variant
from tests.compiling import planned
from tests.conftest import ROOT

PATHS = tuple(setting.path for setting in planned(spec=ROOT / "specs/70b_alibi.yaml").experiment.settings)


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        (("model.position.kind=rope",), "rope"),
        (("model.num_layers=3",), "num_layers=3"),
        (("stages.sft.optimizer.learning_rate=3e-5",), "sft.optimizer.learning_rate=3e-5"),
        (("stages.dpo.optimizer.learning_rate=3e-5",), "dpo.optimizer.learning_rate=3e-5"),
        (("stages.sft.adapter.kind=full",), "sft.adapter=full"),
        (("seed=7", "model.position.kind=rope"), "rope+seed=7"),
        (("model.position.kind=rope", "seed=7"), "rope+seed=7"),
        (("~stages.pretrain.validation",), "~validation"),
        (("~stages.sft.schedule",), "~sft.schedule"),
        (("~model.tie_embeddings", "seed=7"), "seed=7+~tie_embeddings"),
        (("name=../../etc/passwd",), "name=.._.._etc_passwd"),
    ],
)
def test_a_variant_has_a_short_safe_name(sets: tuple[str, ...], name: str) -> None:
    assert variant(sets, PATHS) == name


def test_long_names_are_cut_and_stay_apart() -> None:
    many = tuple(f"model.num_layers={n}" for n in range(30))
    one, two = variant(many, PATHS), variant(many[1:], PATHS)
    assert len(one) <= 60
    assert one != two


def test_a_deletion_that_changes_no_identity_is_no_part_of_the_name() -> None:
    slurm = ("cluster.slurm={}", "~cluster.slurm")
    assert planned(*slurm).experiment.name == "tiny"
    assert planned("~model.init", spec=ROOT / "specs/quickstart.yaml").experiment.name == "quickstart@~init"
