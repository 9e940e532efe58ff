"""What decays: matrices, and no vector, whether it has a tensor of its own or stands in one with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from runners.errors import RunError
from runners.optimizers import AdamW, Muon, optimizers
from specc import driver
from specc.backends import deepspeed
from tests import compiling

EXPERTS = (
    "model.ffn={kind: moe, num_experts: 4, experts_per_token: 2, intermediate_size: 32, bias: true, router_bias: true}"
)
HEADS = "qk_norm: {kind: layernorm}, qk_norm_over: each_head}"
NORMS = f"model.attention={{kind: gqa, num_heads: 4, num_kv_heads: 2, {HEADS}"
DISTANCES = "model.position={kind: relative, num_buckets: 8, max_distance: 16}"
RULES = "stages.pretrain.optimizer.rules=[{match: '*.o_proj.weight', weight_decay: 0.3}]"
LATENT = "{kind: mla, num_heads: 4, kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 12}"

# By the papers' words: biases and gains, with every other weight a matrix that is multiplied with (or a token table).
VECTORS = ("norm.weight", "norm.bias", "_bias", "bias", "position_embedding.weight")


def undecayed(folder: Path, *sets: str) -> tuple[set[str], set[str]]:
    """Names of weights that the generated program does not decay, and all names."""
    texts = compiling.files(compiling.planned(*sets))
    model = compiling.module(texts["model.py"], folder).Model()
    program = compiling.module(texts["train.py"].replace("from model import Cache, Model", ""), folder, "program")
    names = {id(weight): name for name, weight in model.named_parameters()}
    groups = program.optimizer(model).param_groups
    found = [(names[id(weight)], group["weight_decay"]) for group in groups for weight in group["params"]]
    assert sorted(name for name, _ in found) == sorted(names.values()), "each weight in one group"
    return {name for name, decay in found if decay == 0.0}, set(names.values())


@pytest.mark.parametrize(
    "sets",
    [
        (),
        (EXPERTS,),
        (NORMS,),
        (DISTANCES,),
        (EXPERTS, NORMS, DISTANCES),
        (EXPERTS, NORMS, DISTANCES, RULES),
        (f"model.attention={LATENT}", EXPERTS, "model.position={kind: rope}"),
    ],
)
def test_no_vector_decays_and_every_matrix_does(sets: tuple[str, ...], tmp_path: Path) -> None:
    without, names = undecayed(tmp_path, *sets)
    assert without == {name for name in names if name.endswith(VECTORS)}


def test_learned_positions_are_a_table_and_decay(tmp_path: Path) -> None:
    without, names = undecayed(tmp_path, "model.position={kind: learned}")
    assert "position_embedding.weight" in names - without


def test_only_a_program_with_stacked_vectors_names_them() -> None:
    assert "STACKED" not in compiling.files(compiling.planned())["train.py"]
    assert "STACKED" not in compiling.files(compiling.planned(RULES))["train.py"]
    text = compiling.files(compiling.planned(NORMS))["train.py"]
    assert 'STACKED = (".q_norm.weight", ".bias", ".k_norm.weight")' in " ".join(text.split())


def test_deepspeed_is_handed_the_groups_where_vectors_are_stacked() -> None:
    """Its own configuration knows one weight decay for all weights: the program hands its optimizer over, always."""
    for sets in ((), (NORMS,)):
        plan = compiling.planned(*sets, "stages.pretrain.parallelism={engine: deepspeed, zero_stage: 1}")
        (stage,) = (stage for stage in plan.experiment.stages if stage.kind == "pretrain")
        found = json.loads(json.dumps(deepspeed.configuration(plan, stage)))
        assert "optimizer" not in found
        assert found["zero_allow_untested_optimizer"]


def test_muon_is_not_given_stacked_vectors() -> None:
    outcome = driver.check(compiling.TINY, (NORMS, "stages.pretrain.optimizer={kind: muon, learning_rate: 2.0e-2}"))
    (found,) = (one for one in outcome.diagnostics if one.code == "SPC305")
    assert found.headline == "`muon` takes matrices, and it is given 13 vectors"  # five norms, and four a layer
    model = nn.ModuleDict({"q_norm": nn.Linear(4, 2, bias=False)})
    muon = Muon(momentum=0.95, nesterov=True, steps=5, step_size="original", weight_decay=0.0)
    assert optimizers(model, (("*", muon),)).param_groups
    with pytest.raises(RunError, match=r"Muon takes matrices, and a rule gives it a weight of shape \(2, 4\)"):
        optimizers(model, (("*", muon),), (".weight",))
    adamw = AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    (group,) = optimizers(model, (("*", adamw),), (".weight",)).param_groups
    assert group["weight_decay"] == 0.0
    assert torch.equal(group["params"][0], model["q_norm"].weight)
