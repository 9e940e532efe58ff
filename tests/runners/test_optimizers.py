"""Rules over weights against loops written by hand, and what is saved of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runners import checkpoint
from runners.engines.torch_engine import TorchEngine, loss_scaler, single
from runners.errors import RunError
from runners.objective.examples import next_token
from runners.optimizers import AdamW, Muon, Optimizers, optimizers
from tests.compiling import files, module, planned
from tests.runners.test_pretrain import curve, wait_for_step

if TYPE_CHECKING:
    from types import ModuleType

    from tests.runners.conftest import Experiment

CPU = torch.device("cpu")
RULES = (
    'rules: [{match: "embedding.*", learning_rate: 0.1x, weight_decay: 0.0},'
    ' {match: "*.down_proj.weight", learning_rate: 2x, weight_decay: 0.3}]'
)
ADAMW = "stages.pretrain.optimizer={kind: adamw, learning_rate: 3.0e-3, weight_decay: 0.1, " + RULES + "}"
MUON = (
    "stages.pretrain.optimizer={kind: muon, learning_rate: 2.0e-2, momentum: 0.9, weight_decay: 0.05, rules: ["
    '{match: "*norm.weight", optimizer: {kind: adamw, learning_rate: 3.0e-3}},'
    '{match: "embedding.*", learning_rate: 0.5x, optimizer: {kind: adamw, learning_rate: 1.0e-2, weight_decay: 0.0}},'
    '{match: "*.q_proj.weight", learning_rate: 0.5x}]}'
)


def compiled(folder: Path, *sets: str) -> tuple[nn.Module, ModuleType]:
    """The generated model with weights from a seed, and the generated program."""
    texts = files(planned("model.context_length=16", *sets))
    torch.manual_seed(3)
    model = module(texts["model.py"], folder).Model()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1)
    return model, module(texts["train.py"].replace("from model import Cache, Model", ""), folder, "program")


def batches(count: int = 6) -> list[Tensor]:
    torch.manual_seed(5)
    return [torch.randint(0, 257, (8, 17)) for _ in range(count)]


def by_hand(model: nn.Module, step: Callable[[int], None], parameters: list[Tensor]) -> None:
    for index, rows in enumerate(batches()):
        for weight in parameters:
            weight.grad = None
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
        (loss / rows[:, 1:].numel()).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        step(index)


def by_engine(model: nn.Module, program: ModuleType) -> Optimizers:
    optimizer: Optimizers = program.optimizer(model)
    engine = single(model, optimizer, CPU, "fp32", 8, 1.0)
    for index, rows in enumerate(batches()):
        engine.gradients(next_token(rows))
        engine.update(program.learning_rate(index))
    return optimizer


def test_training_with_rules_is_a_hand_written_loop_with_parameter_groups(tmp_path: Path) -> None:
    model, program = compiled(tmp_path, ADAMW)
    other, _ = compiled(tmp_path, ADAMW)
    by_engine(model, program)
    named = dict(other.named_parameters())
    downs = [weight for name, weight in named.items() if name.endswith("down_proj.weight")]
    vectors = [weight for weight in named.values() if weight.dim() == 1]
    special = {id(weight) for weight in (named["embedding.weight"], *downs, *vectors)}
    groups = [
        {"params": [named["embedding.weight"]], "weight_decay": 0.0},
        {"params": downs, "weight_decay": 0.3},
        {"params": vectors, "weight_decay": 0.0},
        {"params": [weight for weight in named.values() if id(weight) not in special], "weight_decay": 0.1},
    ]
    hand = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)

    def step(index: int) -> None:
        rate = 3e-3 * (index + 1) / 10
        for group, scale in zip(hand.param_groups, (0.1, 2.0, 1.0, 1.0), strict=True):
            group["lr"] = rate * scale
        hand.step()

    by_hand(other, step, list(named.values()))
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight, named[name], atol=2e-6, rtol=1e-5, msg=name)


def test_muon_beside_adamw_is_a_hand_written_loop_with_both(tmp_path: Path) -> None:
    model, program = compiled(tmp_path, MUON)
    other, _ = compiled(tmp_path, MUON)
    optimizer = by_engine(model, program)
    assert [type(part) for part in optimizer.parts] == [torch.optim.AdamW, torch.optim.Muon]
    named = dict(other.named_parameters())
    queries = [weight for name, weight in named.items() if name.endswith("q_proj.weight")]
    norms = [weight for name, weight in named.items() if name.endswith("norm.weight")]
    special = {id(weight) for weight in (named["embedding.weight"], *queries, *norms)}
    rest = [weight for weight in named.values() if id(weight) not in special]
    muon = torch.optim.Muon(
        [{"params": queries}, {"params": rest}], weight_decay=0.05, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [{"params": norms}, {"params": [named["embedding.weight"]]}], betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )

    def step(index: int) -> None:
        share = (index + 1) / 10
        for group, peak in zip((*muon.param_groups, *adamw.param_groups), (1e-2, 2e-2, 3e-3, 5e-3), strict=True):
            group["lr"] = peak * share
        muon.step()
        adamw.step()

    by_hand(other, step, list(named.values()))
    # Muon iterates in bf16: only equal bits stay near each other.
    assert all(torch.equal(weight, named[name]) for name, weight in model.named_parameters())


@pytest.mark.parametrize("sets", [(), (ADAMW,), (MUON,)])
def test_the_planner_counts_the_states_that_pytorch_keeps(sets: tuple[str, ...], tmp_path: Path) -> None:
    model, program = compiled(tmp_path, *sets)
    optimizer = by_engine(model, program)
    parts = optimizer.parts if isinstance(optimizer, Optimizers) else (optimizer,)
    kept = [value for part in parts for state in part.state.values() for name, value in state.items() if name != "step"]
    memory = planned("model.context_length=16", *sets).stage("pretrain").memory
    assert memory is not None
    assert dict(memory.by_cause)["optimizer states"] == sum(value.numel() * value.element_size() for value in kept)


def test_a_rule_without_weights_and_a_vector_for_muon_stop_the_run() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    adamw = AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    muon = Muon(momentum=0.95, nesterov=True, steps=5, step_size="original", weight_decay=0.0)
    with pytest.raises(RunError, match=r"no weight is left for the rule `2\.\*`"):
        optimizers(model, (("2.*", adamw), ("*", adamw)))
    with pytest.raises(RunError, match=r"Muon takes matrices, and a rule gives it a weight of shape \(4,\)"):
        optimizers(model, (("*", muon),))
    with pytest.raises(RunError, match=r"no rule matches the weight `1\.weight`"):
        optimizers(model, (("0.*", adamw),))


def test_a_state_of_other_optimizers_is_not_taken_back() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    one = optimizers(model, (("*", AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)),))
    with pytest.raises(ValueError, match="0 optimizers were saved, and there are 1"):
        one.load_state_dict({"state": {}, "param_groups": []})


TABLE = """OPTIMIZERS = (
    ("*norm.weight", AdamW(scale=0.5, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)),
    ("embedding.*", AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)),
    ("*", Muon(momentum=0.95, nesterov=True, steps=5, step_size="match_rms_adamw", weight_decay=0.1)),
)


def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return optimizers(model, OPTIMIZERS)"""


def with_muon(experiment: Experiment) -> None:
    experiment.change("import math\n", "import math\n\nfrom runners.optimizers import AdamW, Muon, optimizers\n")
    text = (experiment.plan / "train.py").read_text()
    start = text.index("def optimizer")
    experiment.change(text[start : text.index("\n\n\n", start)], TABLE)
    experiment.change("steps=200", "steps=60")


def test_a_killed_run_of_muon_and_adamw_in_fp16_ends_with_the_same_bits(experiment: Experiment) -> None:
    with_muon(experiment)
    experiment.change('precision="fp32"', 'precision="fp16", loss_scale="dynamic"')
    whole = experiment.execute("train.py", "whole")
    assert whole.returncode == 0, whole.stderr
    process = experiment.start("train.py", "killed")
    wait_for_step(experiment.folder / "killed", 23, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = experiment.execute("train.py", "killed")
    assert "resuming from step" in resumed.stdout, resumed.stderr
    one, other = experiment.folder / "whole", experiment.folder / "killed"
    assert curve(one) == curve(other)
    assert curve(one)[60] < curve(one)[1] - 1.0
    found = [checkpoint.required(run) for run in (one, other)]
    assert found[0].names() == found[1].names()
    assert all(torch.equal(found[0].tensor(name), found[1].tensor(name)) for name in found[0].names())
    assert {name.rpartition("/")[2] for name in found[0].names("optimizer/")} == {
        "exp_avg", "exp_avg_sq", "momentum_buffer", "step"
    }  # fmt: skip
    assert found[0].scalars == found[1].scalars
    assert found[0].scalars["loss_scale"]["_growth_tracker"] == 60


def small(scale: float | str | None, precision: str = "fp16") -> TorchEngine:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 10))
    rules = (("*", AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)),)
    fixed = None if isinstance(scale, str) else scale
    return single(model, optimizers(model, rules), CPU, precision, 4, 1.0, loss_scaler(CPU, scale), fixed)


def trained(engine: TorchEngine, steps: int = 30) -> float:
    rows = torch.arange(40).remainder(10).view(8, 5)
    for _ in range(steps):
        loss, _ = engine.gradients(next_token(rows))
        engine.update(1e-2)
    return loss


@pytest.mark.parametrize("scale", ["dynamic", 1024.0])
def test_fp16_learns_what_fp32_learns(scale: float | str) -> None:
    assert trained(small(scale)) == pytest.approx(trained(small(None, "fp32")), rel=0.02)


def test_an_overflow_skips_the_step_and_halves_a_dynamic_scale_only() -> None:
    for scale, after in (("dynamic", 2.0**31), (2.0**32, 2.0**32)):
        engine = small(scale)
        assert engine.scaler is not None
        engine.scaler.load_state_dict({**engine.scaler.state_dict(), "scale": 2.0**32})
        before = [weight.clone() for weight in engine.model.parameters()]
        engine.gradients(next_token(torch.arange(40).remainder(10).view(8, 5)))
        assert engine.may_skip is (scale == "dynamic")
        engine.update(1e-2)
        assert engine.loss_scale == after
        assert all(torch.equal(old, new) for old, new in zip(before, engine.model.parameters(), strict=True))


def test_gradients_are_clipped_after_the_scale_is_taken_off() -> None:
    rows = torch.arange(40).remainder(10).view(8, 5)
    (_, scaled), (_, plain) = small(4096.0).gradients(next_token(rows)), small(None, "fp32").gradients(next_token(rows))
    assert scaled == pytest.approx(plain, rel=0.01)
