"""Generated mixtures of experts against the blocks of transformers: outputs, and the gradients of every weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import compiling

D, E, A, I = 64, 8, 2, 48  # noqa: E741 - the letters of the generated model
SIZES = f"kind: moe, num_experts: {E}, experts_per_token: {A}, intermediate_size: {I}"
Weights = dict[str, Tensor]


def compiled(folder: Path, more: str) -> ModuleType:
    return compiling.model(folder, f"model.ffn={{{SIZES}, {more}}}")


def halves(theirs: Weights) -> Weights:
    """Gate and up as one matrix, [E, 2I, D]."""
    gate, up = theirs["experts.gate_up_proj"].chunk(2, dim=1)
    ours = {"experts.gate_proj": gate, "experts.up_proj": up, "experts.down_proj": theirs["experts.down_proj"]}
    return {**ours, "router.weight": theirs["gate.weight"]}


def with_shared(theirs: Weights, name: str = "shared_experts") -> Weights:
    beside = {f"shared.{part}_proj.weight": theirs[f"{name}.{part}_proj.weight"] for part in ("gate", "up", "down")}
    return {**halves(theirs), **beside}


def with_gate(theirs: Weights) -> Weights:
    return {**with_shared(theirs, "shared_expert"), "shared_gate.weight": theirs["shared_expert_gate.weight"]}


def interleaved(theirs: Weights) -> Weights:
    """Gate and up in turn, matrices transposed."""
    ours = {"router.weight": theirs["router.weight"], "router.bias": theirs["router.bias"]}
    for start, part in ((0, "gate_proj"), (1, "up_proj")):
        ours[f"experts.{part}"] = theirs["experts.gate_up_proj"][..., start::2].transpose(1, 2)
        ours[f"experts.{part}_bias"] = theirs["experts.gate_up_proj_bias"][..., start::2]
    ours["experts.down_proj"] = theirs["experts.down_proj"].transpose(1, 2)
    return {**ours, "experts.down_proj_bias": theirs["experts.down_proj_bias"]}


def mixtral() -> nn.Module:
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    return MixtralSparseMoeBlock(
        MixtralConfig(hidden_size=D, intermediate_size=I, num_local_experts=E, num_experts_per_tok=A)
    )


def qwen2(normalize: bool) -> nn.Module:
    from transformers import Qwen2MoeConfig
    from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock

    sizes = {"moe_intermediate_size": I, "shared_expert_intermediate_size": 80}
    return Qwen2MoeSparseMoeBlock(
        Qwen2MoeConfig(hidden_size=D, num_experts=E, num_experts_per_tok=A, norm_topk_prob=normalize, **sizes)
    )


def qwen3(normalize: bool) -> nn.Module:
    from transformers import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

    config = Qwen3MoeConfig(
        hidden_size=D, num_experts=E, num_experts_per_tok=A, moe_intermediate_size=I, norm_topk_prob=normalize
    )
    return Qwen3MoeSparseMoeBlock(config)


def deepseek_v2(method: str) -> nn.Module:
    from transformers import DeepseekV2Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

    groups = {"n_group": 4, "topk_group": 2} if method != "greedy" else {}
    return DeepseekV2Moe(
        DeepseekV2Config(
            hidden_size=D, moe_intermediate_size=I, n_routed_experts=E, num_experts_per_tok=A, n_shared_experts=2,
            topk_method=method, routed_scaling_factor=16.0, **groups,
        )
    )  # fmt: skip


def deepseek_v3() -> nn.Module:
    from transformers import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

    block = DeepseekV3MoE(
        DeepseekV3Config(
            hidden_size=D, moe_intermediate_size=I, n_routed_experts=E, num_experts_per_tok=A, n_shared_experts=1,
            n_group=4, topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5,
        )
    )  # fmt: skip
    nn.init.normal_(block.gate.get_buffer("e_score_correction_bias"), std=0.3)
    return block


def gpt_oss() -> nn.Module:
    from transformers import GptOssConfig
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssMLP

    return GptOssMLP(GptOssConfig(hidden_size=D, intermediate_size=I, num_local_experts=E, num_experts_per_tok=A))


@dataclass(frozen=True)
class Case:
    judge: Callable[[], nn.Module]
    spec: str
    renamed: Callable[[Weights], Weights]


_V2 = "num_shared_experts: 2, normalize_weights: false, routed_scaling_factor: 16.0"
CASES = {
    "mixtral": Case(mixtral, "balancing: {kind: none}", halves),
    "qwen2": Case(
        lambda: qwen2(False),
        "num_shared_experts: 1, shared_intermediate_size: 80, shared_gate: true, normalize_weights: false",
        with_gate,
    ),
    "qwen2_normalized": Case(
        lambda: qwen2(True), "num_shared_experts: 1, shared_intermediate_size: 80, shared_gate: true", with_gate
    ),
    "qwen3": Case(lambda: qwen3(True), "normalize_weights: true", halves),
    "qwen3_as_scored": Case(lambda: qwen3(False), "normalize_weights: false", halves),
    "deepseek_v2_lite": Case(lambda: deepseek_v2("greedy"), _V2, with_shared),
    "deepseek_v2": Case(
        lambda: deepseek_v2("group_limited_greedy"), f"{_V2}, num_groups: 4, groups_per_token: 2", with_shared
    ),
    "deepseek_v3": Case(
        deepseek_v3,
        "num_shared_experts: 1, scoring: sigmoid, num_groups: 4, groups_per_token: 2, group_score: top2_sum, "
        "routed_scaling_factor: 2.5, balancing: {kind: bias}",
        with_shared,
    ),
    "gpt_oss": Case(gpt_oss, "activation: clamped_swiglu, bias: true, router_bias: true", interleaved),
}


def given(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def assert_equal(one: Tensor | None, other: Tensor | None, name: str) -> None:
    """To 1e-5 of the largest value."""
    assert one is not None
    assert other is not None
    assert (one - other).abs().max() <= 1e-5 * max(1.0, other.abs().max().item()), name


@pytest.mark.parametrize("name", CASES)
def test_a_block_of_experts_and_its_gradients_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    judge = case.judge()
    for value in judge.parameters():
        nn.init.normal_(value, std=0.1)
    block = compiled(tmp_path, case.spec).MixtureOfExperts()
    state = case.renamed(dict(judge.state_dict()))
    if "correction" in dict(block.router.named_buffers()):
        state["router.correction"] = judge.gate.get_buffer("e_score_correction_bias")
    block.load_state_dict(state, strict=True)
    size = 6.0 if name == "gpt_oss" else 1.0  # so that its bounds of 7 bind
    one = (size * torch.randn(2, 19, D)).requires_grad_()
    other = one.detach().clone().requires_grad_()
    ours, theirs = block(one), given(judge(other))
    assert_equal(ours, theirs, name)
    pull = torch.randn_like(ours)
    ours.backward(pull)
    theirs.backward(pull)
    assert_equal(one.grad, other.grad, "input")
    wanted = case.renamed({key: value.grad for key, value in judge.named_parameters() if value.grad is not None})
    found = {key: value.grad for key, value in block.named_parameters()}
    assert found.keys() == wanted.keys()
    for key, gradient in found.items():
        assert_equal(gradient, wanted[key], key)


def test_the_balancing_loss_of_a_model_is_that_of_transformers(tmp_path: Path) -> None:
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    torch.manual_seed(0)
    generated = compiled(tmp_path, "balancing: {kind: loss}")
    model = generated.Model()
    logits: list[Tensor] = []
    for block in model.layers:
        nn.init.normal_(block.ffn.router.weight, std=0.5)
        block.ffn.router.register_forward_hook(
            lambda router, given, _: logits.append(given[0].flatten(0, 1) @ router.weight.T)
        )
    model(torch.randint(0, 257, (3, 21)))
    judged = load_balancing_loss_func(tuple(logits), num_experts=E, top_k=A)
    loss = model.auxiliary_loss()
    torch.testing.assert_close(loss, judged, atol=1e-6, rtol=1e-6)
    weights = [block.ffn.router.weight for block in model.layers]
    ours = torch.autograd.grad(loss, weights, retain_graph=True)
    for one, other in zip(ours, torch.autograd.grad(judged, weights), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert loss > A, "the loss is A where all is even"


def test_the_bias_moves_against_the_load_and_by_its_rate(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = compiled(tmp_path, "balancing: {kind: bias, update_rate: 0.25}").Model()
    ids = torch.randint(0, 257, (4, 32))
    model.eval()(ids)
    assert all(not router.seen_E.any() for router in model.routers()), "what is only evaluated is not counted"
    model.train()(ids)
    first = [router.load_E.clone() for router in model.routers()]
    model(ids)
    for router, load in zip(model.routers(), first, strict=True):
        assert torch.equal(router.seen_E, 2 * load)
        assert load.sum() == ids.numel() * A
    model.after_step()
    for router, load in zip(model.routers(), first, strict=True):
        assert torch.equal(router.correction, 0.25 * torch.sign(load.float().mean() - load))
        assert not router.seen_E.any()
    assert [name for name, _ in model.named_buffers() if name in model.state_dict()] == [
        f"layers.{index}.ffn.router.correction" for index in range(2)
    ]


def test_an_expert_takes_its_share_of_a_sequence_in_order_and_the_rest_pass_by(tmp_path: Path) -> None:
    """GShard's capacity: ceil(1.25 x 16 x 2 / 8) = 5 tokens of a sequence of 16."""
    generated = compiled(tmp_path, "capacity_factor: 1.25")
    choices = torch.zeros(2, 16, 2, dtype=torch.long)
    choices[..., 1] = 1
    choices[1, :, 1] = torch.arange(16) % 4 + 2
    served = generated.within_capacity(choices)
    assert served[0].tolist() == [[True, True]] * 5 + [[False, False]] * 11
    assert served[1].tolist() == [[position < 5, True] for position in range(16)]
    torch.manual_seed(0)
    experts = generated.Experts()
    x, weights = torch.randn(2, 16, D), torch.rand(2, 16, 2)
    dropless = experts.eval()(x, choices, weights)
    kept = experts(x, choices, torch.where(served, weights, 0.0))
    torch.testing.assert_close(experts.train()(x, choices, weights), kept)
    assert not torch.allclose(kept, dropless)


def test_a_dropped_token_depends_on_its_past_and_on_no_other_sequence(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = compiled(tmp_path, "capacity_factor: 0.5").Model().train()
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    ids = torch.randint(0, 257, (2, 24))
    before = model(ids)
    changed = ids.clone()
    changed[0, 12] = (ids[0, 12] + 1) % 257
    after = model(changed)
    torch.testing.assert_close(after[0, :12], before[0, :12], atol=1e-5, rtol=0)
    torch.testing.assert_close(after[1], before[1], atol=1e-5, rtol=0)
    assert not torch.allclose(after[0, 12:], before[0, 12:])
    assert not torch.allclose(model.eval()(ids), before), "half of the choices are dropped in training only"


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_plain_and_gated_feed_forwards_are_their_formulas(approximate: str, tmp_path: Path) -> None:
    """Of the papers: Vaswani et al. 2017, section 3.3; So et al. 2021; Shazeer 2020, equation 6."""
    import math

    def gelu(x: Tensor) -> Tensor:
        if approximate == "none":
            return x * (1 + torch.erf(x / math.sqrt(2))) / 2
        return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2

    formulas: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": lambda x: x.clamp(min=0),
        "squared_relu": lambda x: x.clamp(min=0) ** 2,
        f"gelu, approximate: {approximate}": gelu,
        "reglu": lambda x: x.clamp(min=0),
        f"geglu, approximate: {approximate}": gelu,
        "swiglu": lambda x: x / (1 + torch.exp(-x)),
    }
    for index, (kind, formula) in enumerate(formulas.items()):
        folder = tmp_path / str(index)
        folder.mkdir()
        ffn = compiling.model(folder, f"model.ffn={{kind: {kind}, intermediate_size: 96, bias: true}}").FeedForward()
        x = torch.randn(2, 5, D)
        up = ffn.up_proj(x)
        inner = formula(ffn.gate_proj(x)) * up if "glu" in kind else formula(up)
        torch.testing.assert_close(ffn(x), ffn.down_proj(inner), atol=1e-6, rtol=1e-5)


KEPT = (
    *(f"kind: {kind}, intermediate_size: 256" for kind in ("relu", "squared_relu", "gelu", "swiglu", "geglu", "reglu")),
    f"{SIZES}",
    f"{SIZES}, num_shared_experts: 1, shared_gate: true, balancing: {{kind: loss}}",
    f"{SIZES}, activation: clamped_swiglu, bias: true, router_bias: true",
    f"{SIZES}, scoring: sigmoid, num_groups: 4, groups_per_token: 2, balancing: {{kind: bias}}",
)


@pytest.mark.parametrize("ffn", KEPT)
def test_what_a_feed_forward_keeps_for_its_backward_pass_is_what_it_says(ffn: str, tmp_path: Path) -> None:
    """As PyTorch's autograd hands it to be saved, each storage once and parameters left out."""
    plan = compiling.planned(f"model.ffn={{{ffn}}}")
    component = plan.experiment.model.layers[0].part("ffn")
    generated = compiling.module(compiling.files(plan)["model.py"], tmp_path)
    block = getattr(generated, component.values["module"])()
    own = {value.untyped_storage().data_ptr() for value in block.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        output = block(torch.randn(2, 64, D, requires_grad=True))
    found = sum(size for size, _ in kept.values()) / 128
    said = sum(part.per_token * (part.bytes_each or 4) for part in component.saved)
    assert output.shape == (2, 64, D)
    assert found == pytest.approx(said, rel=0.02 if "moe" not in ffn else 0.1), (found, said)
