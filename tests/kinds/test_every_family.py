"""Encoders and encoder-decoders of every kind: what they say of themselves is what the generated code is."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests import compiling
from tests.kinds.test_every_kind import BODIES, HEADS, MORE_POSITIONS, POSITIONS, SCORES, Architecture, sets

GQA = "{kind: gqa, num_heads: 4, num_kv_heads: 2}"
TRANSFORM = "{activation: gelu_tanh, norm: {kind: layernorm, bias: false}}"
EXPERTS = "{kind: moe, num_experts: 8, experts_per_token: 2, intermediate_size: 48, balancing: {kind: bias}}"
# ALiBi of the past rounds positions, and distances have no such rule.
PLACES = (*POSITIONS, *(position for position in MORE_POSITIONS if "bf16" not in position))
COMMON = [
    *((GQA, position, BODIES[0]) for position in PLACES),
    *((attention, POSITIONS[index % 2], BODIES[index % 3]) for index, attention in enumerate((*HEADS, *SCORES))),
    *((SCORES[2], position, BODIES[1]) for position in PLACES[3:6]),
    # On real tensors, which experts need, torch counts no fused attention.
    (SCORES[1], "{kind: rope}", ("{kind: rmsnorm}", EXPERTS, "true")),
    *(
        (GQA, "{kind: rope}", BODIES[0], (f"norm_placement={placement}", "dropout={residual: 0.1, output: 0.1}"))
        for placement in ("post", "sandwich", "output")
    ),
]
ENCODERS: list[Architecture] = [
    *COMMON,
    *(
        (SCORES[2], "{kind: rope}", BODIES[0], frame)
        for frame in (
            ("residual=parallel", "residual_multiplier=0.3", "embedding={multiplier: 3.0, token_types: 2}"),
            ("residual=parallel_two_norms", "embedding={norm: {kind: layernorm}, token_types: 1}"),
            ("first_attention_norm=false", "embedding={norm: {kind: layernorm}}", "dropout={embedding: 0.1}"),
            ("first_attention_norm=false", "attention={kind: mha, num_heads: 4}", "num_layers=1"),
            ("first_attention_norm=false", f"ffn={EXPERTS}", "num_layers=4", f"attention={SCORES[1]}"),
        )
    ),
]
HEAD_KINDS = (
    "{kind: masked_lm}",
    f"{{kind: masked_lm, transform: {TRANSFORM}, bias: false}}",
    "{kind: masked_lm, transform: {activation: relu, bias: false}}",
    "{kind: classification, num_labels: 3}",
    f"{{kind: classification, num_labels: 3, pooling: mean, pooler: true, transform: {TRANSFORM}, dropout: 0.1}}",
    "{kind: classification, num_labels: 3, pooling: last, pooler_dropout: 0.1, bias: false}",
    "{kind: token_classification, num_labels: 5}",
    "{kind: token_classification, num_labels: 5, transform: {activation: silu}, dropout: 0.1, bias: false}",
    "{kind: pooled}",
    "{kind: pooled, pooling: mean, normalize: true}",
    "{kind: pooled, pooling: last, pooler: true}",
    "{kind: none}",
)
ENCODERS += [(GQA, "{kind: rope}", BODIES[0], (f"head={head}", "dropout={output: 0.1}")) for head in HEAD_KINDS]
ENCODERS += [(GQA, "{kind: rope}", BODIES[1], (f"head={head}",)) for head in HEAD_KINDS[:3]]
WRITERS: list[Architecture] = [
    *COMMON,
    (GQA, "{kind: rope}", BODIES[1], ("num_layers=3", "num_decoder_layers=1", "head={kind: lm, bias: true}")),
    (
        SCORES[2],
        "{kind: relative}",
        BODIES[0],
        ("num_layers=4", "embedding={norm: {kind: layernorm}, multiplier: 2.0}", "head={kind: lm, softcap: 2.0}"),
    ),
]
EVERY = [*(("encoder", each) for each in ENCODERS), *(("encoder_decoder", each) for each in WRITERS)]


OBJECTIVES = {"encoder": "masked", "encoder_decoder": "span_corruption"}


def asked(family: str, architecture: Architecture) -> tuple[str, ...]:
    """Overrides of the smallest spec."""
    objective = f"stages.pretrain.objective={{kind: {OBJECTIVES[family]}}}"
    return (f"model.kind={family}", objective, *sets(architecture))


def made(family: str, architecture: Architecture, folder: Path) -> tuple[ModuleType, nn.Module]:
    generated = compiling.model(folder, *asked(family, architecture))
    torch.manual_seed(0)
    model = generated.Model().eval()
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    return generated, model


@pytest.mark.parametrize(("family", "architecture"), EVERY)
def test_the_module_has_the_lowered_weights_and_the_flops_that_torch_counts(
    family: str, architecture: Architecture, tmp_path: Path
) -> None:
    plan = compiling.planned(*asked(family, architecture))
    text = compiling.files(plan)["model.py"]
    generated = compiling.module(text, tmp_path)
    with torch.device("cpu" if "moe" in str(architecture) else "meta"):
        model = generated.Model().eval()
        ids = torch.zeros(3, 32, dtype=torch.long)
    said = {weight.name: weight.sizes for weight in plan.experiment.model.weights()}
    assert {name: tuple(value.shape) for name, value in model.named_parameters()} == said
    assert list(said) == [name for name, _ in model.named_parameters()]
    assert plan.experiment.model.parameters == sum(value.numel() for value in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(*((ids,) if family == "encoder" else (ids, ids)))
    assert counter.get_total_flops() == 3 * 32 * plan.experiment.model.forward_flops_per_token(32)
    assert len(text.splitlines()) <= 400
    assert ("Cache" in text) == (family != "encoder")


def inputs(family: str, ids: Tensor, attended: Tensor | None, written: Tensor) -> tuple[Tensor | None, ...]:
    return (ids, attended) if family == "encoder" else (ids, written, attended)


@pytest.mark.parametrize(("family", "architecture"), EVERY)
def test_padding_changes_nothing_and_gives_every_weight_a_finite_gradient(
    family: str, architecture: Architecture, tmp_path: Path
) -> None:
    _, model = made(family, architecture, tmp_path)
    ids, written = torch.randint(0, 257, (2, 17)), torch.randint(0, 257, (2, 9))
    attended = torch.arange(17) < torch.tensor([[17], [9]])
    whole = model(*inputs(family, ids, attended, written))
    with torch.no_grad():
        other = model(*inputs(family, ids.masked_fill(~attended, 7), attended, written))
        alone = model(*inputs(family, ids[1:, :9], None, written[1:]))
        first = model(*inputs(family, ids[:1], None, written[:1]))
    by_token = family == "encoder" and whole.dim() == 3
    wanted = attended if by_token else torch.ones(whole.shape[:2], dtype=torch.bool)
    torch.testing.assert_close(whole[wanted], other[wanted], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole[:1], first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole[1:, :9] if by_token else whole[1:], alone, atol=1e-5, rtol=1e-5)
    whole[wanted].square().mean().backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("architecture", ENCODERS)
def test_a_token_of_an_encoder_sees_the_future(architecture: Architecture, tmp_path: Path) -> None:
    _, model = made("encoder", architecture, tmp_path)
    ids = torch.randint(0, 257, (2, 17))
    changed = ids.clone()
    changed[:, 11] = (ids[:, 11] + 1) % 257
    with torch.no_grad():
        before, after = model(ids), model(changed)
    if before.dim() == 2:
        assert not torch.allclose(before, after)
        return
    moved = ((before - after).abs().amax(dim=-1) > 1e-7).all(dim=0)
    assert moved[10]
    assert moved[12]
    if "window" in architecture[0] and "pattern" not in architecture[0] and len(architecture) == 3:
        # Two layers of 5 on either side.
        assert moved.tolist() == [abs(place - 11) <= 10 for place in range(17)]


@pytest.mark.parametrize("architecture", WRITERS)
def test_what_is_written_sees_its_past_and_all_that_was_read_and_a_cache_changes_nothing(
    architecture: Architecture, tmp_path: Path
) -> None:
    generated, model = made("encoder_decoder", architecture, tmp_path)
    ids, written = torch.randint(0, 257, (2, 13)), torch.randint(0, 257, (2, 17))
    attended = torch.arange(13) < torch.tensor([[13], [9]])
    changed, other = written.clone(), ids.clone()
    changed[:, 11], other[:, 8] = (written[:, 11] + 1) % 257, (ids[:, 8] + 1) % 257
    with torch.no_grad():
        full = model(ids, written, attended)
        after, elsewhere = model(ids, changed, attended), model(other, written, attended)
        cache, memory = generated.Cache(2, 17, next(model.parameters())), model.encode(ids, attended)
        steps = [model.decode(written[:, :5], memory, attended, cache)]
        steps += [model.decode(written[:, t : t + 1], memory, attended, cache) for t in range(5, 17)]
    torch.testing.assert_close(full[:, :11], after[:, :11], atol=1e-6, rtol=0)
    assert not torch.allclose(full[:, 11:], after[:, 11:])
    assert not torch.allclose(full[:, 0], elsewhere[:, 0])
    torch.testing.assert_close(torch.cat(steps, dim=1), full, atol=1e-5, rtol=0)
    assert len(cache.sources) == len(model.layers)


def test_the_bias_to_both_sides_is_slope_times_distance(tmp_path: Path) -> None:
    generated = compiling.model(tmp_path, *asked("encoder", (GQA, "{kind: alibi}", BODIES[0])))
    slope = 2.0 ** (-8 / 4)
    expected = -slope * torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
    torch.testing.assert_close(generated.two_sided_bias(0, torch.zeros(1, 3, 64))[0, 0], expected, atol=0, rtol=0)


def test_token_types_are_added_and_are_the_first_where_nothing_is_said(tmp_path: Path) -> None:
    _, model = made("encoder", (GQA, "{kind: rope}", BODIES[0], ("embedding={token_types: 2}",)), tmp_path)
    ids = torch.randint(0, 257, (2, 7))
    with torch.no_grad():
        plain, second = model(ids), model(ids, types_BT=torch.ones_like(ids))
        assert torch.equal(plain, model(ids, types_BT=torch.zeros_like(ids)))
    assert not torch.allclose(plain, second)
