"""Layers that share blocks against the same blocks written out, one for each layer."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from specc import driver, ir
from specc.ir.modeling import unwritten
from specc.planning.workload import measure
from tests import compiling

SMALL = ("model.hidden_size=32", "model.context_length=32", "model.num_layers=4")
WINDOWS = "model.attention={kind: gqa, num_heads: 4, num_kv_heads: 2, window: 6, pattern: %s}"
LATENT = "{kind: mla, num_heads: 4, kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 12}"
MULTI = "stages.pretrain.objective={kind: multi_token}"
EXPERTS = "model.ffn={kind: moe, num_experts: 4, experts_per_token: 2, intermediate_size: 16%s}"
LOCAL = "model.position={kind: rope, local_rope_theta: 100}"
ORDERS = {
    "{distinct: 2, order: consecutive}": (0, 0, 1, 1),
    "{distinct: 2, order: cyclic}": (0, 1, 0, 1),
    "{distinct: 1, order: cyclic}": (0, 0, 0, 0),
    "{distinct: 4}": (0, 1, 2, 3),
}
BOTH = tuple(ORDERS)[:2]
CASES = [
    *((order, ()) for order in ORDERS),
    (BOTH[0], (WINDOWS % "LLGG", LOCAL)),
    (BOTH[1], (WINDOWS % "LG", LOCAL)),
    (BOTH[0], (f"model.attention={LATENT}", EXPERTS % "")),
    (BOTH[1], (EXPERTS % ", dense: {layers: [0, 2], intermediate_size: 24}", WINDOWS % "LG")),
    (BOTH[0], (EXPERTS % ", dense: {layers: [0, 1], intermediate_size: 24}", "model.adapters={size: 8}")),
]


def pair(folder: Path, sharing: str, *sets: str) -> tuple[ModuleType, nn.Module, nn.Module, ir.Model]:
    """The module of the sharing model, that model, one without sharing whose layers have its weights, its lowering."""
    plan = compiling.planned(*SMALL, *sets, f"model.layer_sharing={sharing}")
    generated = compiling.module(compiling.files(plan)["model.py"], folder)
    apart = compiling.model(folder, *SMALL, *sets).Model()
    torch.manual_seed(0)
    shared = generated.Model()
    for value in shared.parameters():
        nn.init.normal_(value, std=0.2)
    weights = {name: value for name, value in shared.state_dict().items() if not name.startswith("layers.")}
    for layer, block in enumerate(ORDERS[sharing]):
        own = shared.layers[block].state_dict()
        weights |= {f"layers.{layer}.{name}": value for name, value in own.items()}
    apart.load_state_dict(weights)
    return generated, shared, apart, plan.experiment.model


@pytest.mark.parametrize(("sharing", "sets"), CASES)
def test_sharing_is_equal_weights_in_several_layers(sharing: str, sets: tuple[str, ...], tmp_path: Path) -> None:
    generated, shared, apart, lowered = pair(tmp_path, sharing, *sets)
    said = {weight.name: weight.sizes for weight in lowered.weights()}
    assert {name: tuple(value.shape) for name, value in shared.named_parameters()} == said
    assert lowered.parameters == sum(value.numel() for value in shared.parameters())
    ids = torch.randint(0, 257, (2, 17))
    logits = shared(ids)
    assert torch.equal(logits, apart(ids))
    for model in (shared, apart):
        F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
    own = dict(apart.named_parameters())
    for block in range(len(shared.layers)):
        layers = [layer for layer, used in enumerate(ORDERS[sharing]) if used == block]
        for name, value in shared.layers[block].named_parameters():
            grads = [own[f"layers.{layer}.{name}"].grad for layer in layers]
            summed = sum((grad for grad in grads if grad is not None), start=torch.zeros_like(value))
            found = torch.zeros_like(value) if value.grad is None else value.grad
            torch.testing.assert_close(found, summed, atol=1e-6, rtol=1e-4, msg=name)
    with torch.no_grad():
        cache = generated.Cache(2, 17, ids.new_zeros((), dtype=torch.float32))
        steps = [shared(ids[:, :5], cache), *(shared(ids[:, t : t + 1], cache) for t in range(5, 17))]
    torch.testing.assert_close(torch.cat(steps, dim=1), logits, atol=1e-5, rtol=0)
    # Fused attention on a CPU is not counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        shared(torch.zeros(3, 32, dtype=torch.long))
    assert counter.get_total_flops() == 3 * 32 * lowered.forward_flops_per_token(32)


def test_the_planner_counts_weights_once_and_work_for_each_layer() -> None:
    works = {}
    for name, sets in (("apart", ()), ("shared", ("model.layer_sharing={distinct: 2}",))):
        experiment = compiling.planned(*SMALL, *sets).experiment
        (work,) = (stage.work for stage in experiment.stages if stage.kind == "pretrain")
        assert isinstance(work, ir.Training)
        works[name] = measure(experiment.model, work)
    apart, shared = works["apart"], works["shared"]
    for what in ("matmul_flops", "score_flops", "saved_bytes", "saved_split_bytes", "kv_values", "num_layers"):
        assert getattr(shared, what) == getattr(apart, what), what
    assert shared.blocks.on(1) * 2 == apart.blocks.on(1)
    assert apart.parameters - shared.parameters == shared.blocks.on(1)


def test_mobilellm_has_its_published_size_and_as_many_parameters_with_twice_the_layers() -> None:
    # Liu et al. 2024, arXiv:2402.14905: MobileLLM-125M and MobileLLM-LS-125M have 124.6M parameters, 30 and 60 layers.
    sets = (
        "model.hidden_size=576",
        "model.attention={kind: gqa, num_heads: 9, num_kv_heads: 3}",
        "model.ffn={kind: swiglu, intermediate_size: 1536}",
        "model.vocab_size=32000",
        "model.tie_embeddings=true",
        "model.position={kind: rope}",
    )
    plain = compiling.planned(*sets, "model.num_layers=30").experiment.model
    shared = compiling.planned(*sets, "model.num_layers=60", "model.layer_sharing={distinct: 30}").experiment.model
    assert round(plain.parameters / 1e6, 1) == round(shared.parameters / 1e6, 1) == 124.6
    assert shared.kv_cache_values_per_token == 2 * plain.kv_cache_values_per_token


@pytest.mark.parametrize(
    ("code", "sets"),
    [
        ("SPC122", ("model.layer_sharing={distinct: 2}", WINDOWS % "LG")),
        ("SPC122", ("model.layer_sharing={distinct: 2, order: cyclic}", WINDOWS % "LLGG")),
        ("SPC122", ("model.layer_sharing={distinct: 2}", EXPERTS % ", dense: {layers: [0], intermediate_size: 8}")),
        ("SPC123", ("model.layer_sharing={distinct: 3}",)),
        ("SPC123", ("model.layer_sharing={distinct: 5}",)),
        ("SPC124", ("model.layer_sharing={distinct: 2}", "model.prediction={depth: 2}", MULTI)),
        ("SPC124", ("model.layer_sharing={distinct: 2}", EXPERTS % ", balancing: {kind: loss}")),
    ],
)
def test_what_blocks_cannot_share_is_an_error(code: str, sets: tuple[str, ...]) -> None:
    found = driver.check(compiling.TINY, (*SMALL, *sets)).diagnostics
    assert [one.code for one in found if one.severity == "error"] == [code]


def test_blocks_that_layers_share_are_not_divided_among_pipeline_stages() -> None:
    mesh = "stages.pretrain.parallelism={engine: torch, pipeline_parallel_size: 2}"
    cluster = "cluster={device: h100_sxm, nodes: 1, devices_per_node: 8}"
    found = driver.check(compiling.TINY, (*SMALL, "model.layer_sharing={distinct: 2}", mesh, cluster)).diagnostics
    assert "SPC404" in [one.code for one in found]


@pytest.mark.parametrize("key", ["model.layer_sharing={distinct: 2}", "model.adapters={size: 8}"])
def test_code_for_transformers_is_not_written_where_it_would_compute_something_else(key: str) -> None:
    assert "huggingface/modeling_specc.py" in compiling.files(compiling.planned(*SMALL))
    plan = compiling.planned(*SMALL, key)
    assert "huggingface/modeling_specc.py" not in compiling.files(plan)
    assert unwritten(plan.experiment.model) is not None
