"""z-loss, label smoothing and a loss whose logits exist some at a time, against their formulas written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from runners.objective import Causal, Examples, MultiToken, Prefix, TokenLoss
from runners.objective.draws import Draws
from runners.objective.examples import IGNORE, next_token
from tests.compiling import model as generated

V = 257


def made(folder: Path, *sets: str) -> nn.Module:
    model: nn.Module = generated(folder, "model.context_length=64", *sets).Model()
    torch.manual_seed(3)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.2)
    return model


def rows(count: int = 3, length: int = 33) -> Tensor:
    torch.manual_seed(4)
    return torch.randint(0, V, (count, length))


def formula(logits: Tensor, targets: Tensor, z_loss: float, smoothing: float) -> Tensor:
    """Chowdhery et al. 2022, section 5, and Szegedy et al. 2016, section 7, in fp64 a target at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for row, target in zip(logits.double().flatten(0, -2), targets.flatten().tolist(), strict=True):
        if target == IGNORE:
            continue
        log_z = row.exp().sum().log()
        wanted = torch.full_like(row, smoothing / len(row))
        wanted[target] += 1.0 - smoothing
        total = total - (wanted * (row - log_z)).sum() + z_loss * log_z**2
    return total


@pytest.mark.parametrize(("z_loss", "smoothing"), [(0.0, 0.0), (1e-2, 0.0), (0.0, 0.1), (1e-4, 0.2)])
def test_the_loss_is_the_formulas_of_the_papers(z_loss: float, smoothing: float) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 7, V, requires_grad=True) * 3, torch.randint(0, V, (2, 7))
    logits.retain_grad()
    targets[0, 3] = IGNORE
    ours = TokenLoss(z_loss=z_loss, label_smoothing=smoothing).of(logits, targets, training=True)
    ours.backward()  # type: ignore[no-untyped-call]
    again = logits.detach().clone().requires_grad_()
    expected = formula(again, targets, z_loss, smoothing)
    expected.backward()  # type: ignore[no-untyped-call]
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(logits.grad, again.grad, atol=1e-6, rtol=1e-5)


def test_a_model_that_is_validated_is_scored_by_the_plain_cross_entropy(tmp_path: Path) -> None:
    model, examples = made(tmp_path), next_token(rows())
    by = TokenLoss(z_loss=0.1, label_smoothing=0.3, chunk=10)
    plain = F.cross_entropy(model(examples.ids).flatten(0, 1), examples.targets.flatten(), reduction="sum")
    with torch.no_grad():
        assert Causal().loss(model.eval(), examples, by).item() == pytest.approx(plain.item(), rel=1e-6)
        assert Causal().loss(model.train(), examples, by).item() > plain.item() + 1.0


MODELS = {
    "tied": (),
    "untied with a bias": ("model.tie_embeddings=false", "model.head={kind: lm, bias: true}"),
    "softcap and multiplier": ("model.head={kind: lm, softcap: 2.0, multiplier: 0.5}",),
    "layer norm": ("model.norm={kind: layernorm, bias: true}",),
}


@pytest.mark.parametrize("chunk", [1, 10, 96, 1000])
@pytest.mark.parametrize("sets", MODELS.values(), ids=MODELS)
def test_a_loss_in_chunks_is_the_whole_one_with_its_gradients(
    sets: tuple[str, ...], chunk: int, tmp_path: Path
) -> None:
    model, given = made(tmp_path, *sets).train(), next_token(rows())
    targets = given.targets.clone()
    targets[0, :5] = IGNORE
    examples = Examples(given.ids, targets, 91)
    gradients, losses = [], []
    for size in (None, chunk):
        model.zero_grad()
        loss = Causal().loss(model, examples, TokenLoss(z_loss=1e-3, label_smoothing=0.1, chunk=size)) / 91
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        gradients.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert len(gradients[0]) == len(gradients[1]) == len(list(model.parameters()))
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)


def test_a_prefix_reaches_the_blocks_of_a_loss_in_chunks(tmp_path: Path) -> None:
    prefix = Prefix(min_length=4, max_length=20)
    model = made(tmp_path, "stages.pretrain.objective={kind: prefix}").train()
    examples = prefix.examples(rows(), [Draws(1, "objective", index) for index in range(3)])
    whole, parts = (prefix.loss(model, examples, TokenLoss(chunk=size)).item() for size in (None, 7))
    assert whole == pytest.approx(parts, rel=1e-6)


def test_every_depth_of_several_tokens_has_the_same_loss() -> None:
    class Several(nn.Module):
        def predict(self, ids: Tensor) -> tuple[Tensor, ...]:
            torch.manual_seed(2)
            return tuple(torch.randn(*ids.shape, V) for _ in range(2))

    objective, by = MultiToken(weights=(1.0, 0.5)), TokenLoss(z_loss=1e-2, label_smoothing=0.1)
    examples = objective.examples(rows(), [])
    model = Several()
    expected = sum(
        weight * formula(logits, examples.targets[..., depth], 1e-2, 0.1)
        for depth, (weight, logits) in enumerate(zip((1.0, 0.5), model.predict(examples.ids), strict=True))
    )
    assert objective.loss(model, examples, by).item() == pytest.approx(float(expected), rel=1e-5)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, Tensor):
                self.elements = max(self.elements, each.numel())
        return out


def test_no_tensor_of_a_loss_in_chunks_holds_more_logits_than_a_chunk(tmp_path: Path) -> None:
    model, examples = made(tmp_path).train(), next_token(rows(8, 65))
    found: dict[int | None, int] = {}
    for size in (None, 128):
        with Largest() as largest:
            Causal().loss(model, examples, TokenLoss(z_loss=1e-3, chunk=size)).backward()  # type: ignore[no-untyped-call]
        found[size] = largest.elements
    assert found[None] == 8 * 64 * V
    # What is left is the widest activation of the blocks: 192 values for each of three products' sums.
    assert found[128] == max(128 * V, 8 * 64 * 192)


def test_no_logits_are_kept_for_the_backward_pass_of_a_loss_in_chunks(tmp_path: Path) -> None:
    model, examples = made(tmp_path).train(), next_token(rows(8, 65))
    kept: dict[int | None, int] = {}
    for size in (None, 128):
        seen: dict[int, int] = {}

        def keep(tensor: Tensor, seen: dict[int, int] = seen) -> Tensor:
            seen[tensor.data_ptr()] = tensor.untyped_storage().nbytes() // 4
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = Causal().loss(model, examples, TokenLoss(z_loss=1e-3, chunk=size))
        kept[size] = sum(seen.values())
        del loss
    assert kept[None] - kept[128] >= 8 * 64 * V


def test_gradients_of_chunks_are_added_up_in_fp32_under_autocast(tmp_path: Path) -> None:
    model, examples = made(tmp_path).train(), next_token(rows())
    found: dict[tuple[int | None, bool], tuple[float, Tensor]] = {}
    for size, narrow in ((None, False), (None, True), (2, True)):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss = Causal().loss(model, examples, TokenLoss(chunk=size)) / 96
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = model.get_parameter("embedding.weight").grad
        assert gradient is not None
        found[size, narrow] = loss.item(), gradient.clone()
    exact = found[None, False][1]
    whole, parts = ((found[size, True][1] - exact).norm().item() for size in (None, 2))
    assert found[None, True][0] == pytest.approx(found[2, True][0], rel=1e-5)
    assert parts < 1.05 * whole


def test_a_micro_batch_of_ignored_targets_has_no_loss(tmp_path: Path) -> None:
    model, examples = made(tmp_path).train(), next_token(rows())
    nothing = Examples(examples.ids, torch.full_like(examples.targets, IGNORE), 0)
    assert Causal().loss(model, nothing, TokenLoss(z_loss=0.1, label_smoothing=0.1, chunk=7)).item() == 0.0
