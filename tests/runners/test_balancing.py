"""Experts in training: what is counted, what is added to the loss, and that the load gets more even."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from runners.engines.recompute import recompute_activations
from runners.engines.torch_engine import TorchEngine, single
from runners.objective.examples import next_token
from tests import compiling
from tests.runners.test_pretrain import curve, wait_for_step, weights

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

EXPERTS = "kind: moe, num_experts: 8, experts_per_token: 2, intermediate_size: 32"
SMALL = ("model.hidden_size=32", "model.context_length=32")


def ffn(balancing: str, more: str = "") -> str:
    return f"model.ffn={{{EXPERTS}, balancing: {{{balancing}}}{more}}}"


def engine(folder: Path, balancing: str, micro: int = 8, *, recompute: bool = False) -> TorchEngine:
    """The generated model with weights that only depend on the seed, and what its `train.py` would say of it."""
    plan = compiling.planned(*SMALL, ffn(balancing))
    torch.manual_seed(0)
    model = compiling.module(compiling.files(plan)["model.py"], folder).Model()
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    if recompute:
        recompute_activations(model.layers)
    said = plan.experiment.model.regulation
    return single(
        model,
        torch.optim.AdamW(model.parameters(), lr=1e-3),
        torch.device("cpu"),
        "fp32",
        micro,
        None,
        auxiliary_loss=said.auxiliary_loss,
        after_step=said.after_step,
    )


def rows(step: int, count: int = 8) -> Tensor:
    """Sequences of which some bytes are far more frequent than others."""
    draw = torch.Generator().manual_seed(step)
    return (torch.rand(count, 33, generator=draw) ** 4 * 257).long()


def loads(model: Any) -> Tensor:
    """Share of the choices that each expert gets, [layers, E]."""
    counts: list[Tensor] = []
    hooks = [
        block.ffn.router.register_forward_hook(
            lambda _, __, made: counts.append(made[0].flatten().bincount(minlength=8))
        )
        for block in model.layers
    ]
    model.eval()
    with torch.no_grad():
        model(rows(10_000, 32)[:, :-1])
    for hook in hooks:
        hook.remove()
    return torch.stack(counts) / counts[0].sum()


def entropy(load: Tensor) -> float:
    """Mean over layers, in bits: 3 where 8 experts get as many tokens."""
    return -(load * load.clamp(min=1e-9).log2()).sum(dim=-1).mean().item()


@pytest.mark.parametrize("recompute", [False, True])
def test_each_token_is_counted_once_however_a_batch_is_computed(recompute: bool, tmp_path: Path) -> None:
    seen = []
    for micro in (8, 3, 1):
        one = engine(tmp_path, "kind: bias", micro, recompute=recompute)
        one.gradients(next_token(rows(0)))
        seen.append([router.seen_E.clone() for router in one.model.routers()])
        one.validation_loss(next_token(rows(1)))
        assert all(torch.equal(a, b.seen_E) for a, b in zip(seen[-1], one.model.routers(), strict=True))
    assert all(int(counts.sum()) == 8 * 32 * 2 for counts in seen[0])
    assert all(torch.equal(a, b) for other in seen[1:] for a, b in zip(seen[0], other, strict=True))


def test_recomputed_blocks_change_neither_loss_nor_gradients(tmp_path: Path) -> None:
    found = []
    for recompute in (False, True):
        one = engine(tmp_path, "kind: loss, coefficient: 0.5", 4, recompute=recompute)
        numbers = one.gradients(next_token(rows(0)))
        found.append((numbers, one.auxiliary(), [weight.grad for weight in one.model.parameters()]))
    assert found[0][:2] == found[1][:2]
    assert all(torch.equal(a, b) for a, b in zip(found[0][2], found[1][2], strict=True))


def test_the_auxiliary_loss_is_in_the_gradients_and_not_in_the_reported_loss(tmp_path: Path) -> None:
    plain, balanced = engine(tmp_path, "kind: none"), engine(tmp_path, "kind: loss, coefficient: 0.5")
    assert plain.auxiliary() is None
    assert plain.gradients(next_token(rows(0)))[0] == balanced.gradients(next_token(rows(0)))[0]
    router = "layers.0.ffn.router.weight"
    pulls = [dict(one.model.named_parameters())[router].grad for one in (plain, balanced)]
    judge = engine(tmp_path, "kind: loss, coefficient: 0.5").model
    judge(rows(0)[:, :-1])
    extra = torch.autograd.grad(judge.auxiliary_loss(), dict(judge.named_parameters())[router])[0]
    torch.testing.assert_close(pulls[1] - pulls[0], 0.5 * extra, atol=1e-5, rtol=1e-4)


def test_balancing_evens_the_load_and_moves_the_bias(tmp_path: Path) -> None:
    after = {}
    for balancing in ("kind: none", "kind: loss, coefficient: 0.5", "kind: bias, update_rate: 0.01"):
        one = engine(tmp_path, balancing)
        before = entropy(loads(one.model))
        for step in range(60):
            one.gradients(next_token(rows(step)))
            one.update(1e-3)
        after[balancing.split(",")[0]] = entropy(loads(one.model)) - before
        if "bias" in balancing:
            moved = torch.stack([router.correction for router in one.model.routers()])
            assert moved.abs().max() > 0.1
    assert after["kind: loss"] > after["kind: none"] + 0.1
    assert after["kind: bias"] > after["kind: none"] + 0.1


@pytest.mark.parametrize("balancing", ["kind: bias, update_rate: 0.01", "kind: loss"])
def test_a_killed_run_of_experts_ends_with_the_same_bits(balancing: str, experiment: Experiment) -> None:
    plan = compiling.planned(*SMALL, ffn(balancing, ", dense: {layers: [0], intermediate_size: 48}"))
    for name in ("model.py", "train.py"):
        (experiment.plan / name).write_text(compiling.files(plan)[name])
    experiment.change('data="text"', 'data="corpus"')
    experiment.change("micro_batch_size=8", "micro_batch_size=4")
    experiment.change("gradient_accumulation_steps=1", "gradient_accumulation_steps=2")
    experiment.change('activation_checkpointing="none"', 'activation_checkpointing="full"')
    whole = experiment.execute("train.py", "whole")
    assert whole.returncode == 0, whole.stderr
    experiment.change("log_every=10", "log_every=1")
    process = experiment.start("train.py", "killed")
    wait_for_step(experiment.folder / "killed", 33, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = experiment.execute("train.py", "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from step" in resumed.stdout
    one, other = experiment.folder / "whole", experiment.folder / "killed"
    assert all(torch.equal(weight, weights(other)[name]) for name, weight in weights(one).items())
    found = curve(one, "train/auxiliary_loss")
    if "bias" in balancing:
        assert weights(one)["layers.1.ffn.router.correction"].abs().max() > 0.1
        assert not found
    else:
        assert found.items() <= curve(other, "train/auxiliary_loss").items()
        assert found
