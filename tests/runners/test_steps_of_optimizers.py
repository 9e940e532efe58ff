"""Lion, Adafactor and AdamW with 8-bit states against the pseudo code of their papers and other implementations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor, nn

from runners import eight_bit
from runners.optimizers import Adafactor, AdamW, AdamW8bit, Lion, Optimizers, Settings, optimizers
from tests.compiling import files, module, planned
from tests.runners.test_optimizers import by_engine, compiled

STEPS = 20
LION = Lion(betas=(0.9, 0.99), weight_decay=0.3)
ADAFACTOR = Adafactor(beta2_decay=0.8, eps=1e-15, clip_threshold=1.0, min_scale=1e-3, weight_decay=0.0)
NARROW = AdamW8bit(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)


def weights(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes]


def gradients(step: int, weight: Tensor) -> Tensor:
    torch.manual_seed(100 * step + weight.numel())
    return torch.randn(weight.shape, dtype=torch.float64).to(weight.dtype) * 0.1 + 0.01 * weight


def model_of(values: list[Tensor]) -> nn.ParameterDict:
    return nn.ParameterDict({str(index): nn.Parameter(value.clone()) for index, value in enumerate(values)})


def moved(settings: Settings, values: list[Tensor], rate: Callable[[int], float], steps: int = STEPS) -> list[Tensor]:
    model = model_of(values)
    taken = optimizers(model, (("*", settings),))
    for step in range(steps):
        for weight in model.values():
            weight.grad = gradients(step, weight.detach())
        for group in taken.param_groups:
            group["lr"] = rate(step) * group["scale"]
        taken.step()
    return [weight.detach() for weight in model.values()]


def rate(step: int) -> float:
    return 1e-2 * (step + 1) / STEPS


def test_lion_is_algorithm_2_of_its_paper_and_vectors_do_not_decay() -> None:
    values = weights((6, 5), (7,))
    ours = moved(LION, values, rate)
    for start, end in zip(values, ours, strict=True):
        theta, momentum = start.clone(), torch.zeros_like(start)
        for step in range(STEPS):
            gradient = gradients(step, theta)
            update = (0.9 * momentum + 0.1 * gradient).sign()
            theta = theta - rate(step) * (update + (0.3 if start.dim() > 1 else 0.0) * theta)
            momentum = 0.99 * momentum + 0.01 * gradient
        torch.testing.assert_close(end, theta, atol=1e-12, rtol=0)


def test_lion_is_lion_pytorch() -> None:
    theirs = pytest.importorskip("lion_pytorch").Lion
    values = weights((6, 5), (4, 3, 2), dtype=torch.float32)
    model = model_of(values)
    other = theirs(model.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.3)
    for step in range(STEPS):
        for weight in model.values():
            weight.grad = gradients(step, weight.detach())
        other.step()
    for mine, yours in zip(moved(LION, values, lambda _: 1e-2), model.values(), strict=True):
        torch.testing.assert_close(mine, yours.detach(), atol=1e-6, rtol=0)


def paper_adafactor(start: Tensor, rate: Callable[[int], float]) -> Tensor:
    """Shazeer and Stern 2018, algorithms 4 (matrices) and 5 (vectors), with rho_t = min(rate, 1 / sqrt(t))."""
    theta, rows, columns, whole = start.clone(), torch.tensor(0.0), torch.tensor(0.0), torch.tensor(0.0)
    for step in range(STEPS):
        time, gradient = step + 1, gradients(step, theta)
        beta, square = 1 - time**-0.8, gradient.square() + 1e-30
        if start.dim() > 1:
            rows = beta * rows + (1 - beta) * square.sum(dim=-1)
            columns = beta * columns + (1 - beta) * square.sum(dim=-2)
            second = rows[..., :, None] * columns[..., None, :] / rows.sum(dim=-1)[..., None, None]
        else:
            second = whole = beta * whole + (1 - beta) * square
        update = gradient / second.sqrt()
        update = update / max(1.0, update.square().mean().sqrt().item())
        size = max(1e-3, theta.square().mean().sqrt().item())
        theta = theta - size * min(rate(step), 1 / math.sqrt(time)) * update
    return theta


def test_adafactor_is_the_algorithm_of_its_paper_with_the_schedule_as_its_limit() -> None:
    values = weights((6, 5), (7,), (3, 4, 5))
    for start, end in zip(values, moved(ADAFACTOR, values, rate), strict=True):
        torch.testing.assert_close(end, paper_adafactor(start, rate), atol=1e-10, rtol=0)


def test_a_learning_rate_of_adafactor_above_the_inverse_root_of_the_step_changes_nothing() -> None:
    values = weights((6, 5))
    (low,), (high,) = (moved(ADAFACTOR, values, lambda _, peak=peak: peak) for peak in (1.0, 50.0))  # type: ignore[misc]
    assert torch.equal(low, high)


def test_adafactor_is_that_of_transformers_at_the_rate_of_the_paper() -> None:
    values = weights((6, 5), (7,), dtype=torch.float32)
    model = model_of(values)
    other = transformers.Adafactor(model.parameters(), relative_step=True, scale_parameter=True, warmup_init=False)  # type: ignore[no-untyped-call]
    for step in range(STEPS):
        for weight in model.values():
            weight.grad = gradients(step, weight.detach())
        other.step()  # type: ignore[no-untyped-call]
    for mine, yours in zip(moved(ADAFACTOR, values, lambda _: 1e-2), model.values(), strict=True):
        torch.testing.assert_close(mine, yours.detach(), atol=1e-6, rtol=0)


def test_rows_of_a_table_without_a_gradient_stay_where_they_are_under_adafactor() -> None:
    model = model_of(weights((4, 3), dtype=torch.float32))
    before = model["0"].detach().clone()
    taken = optimizers(model, (("*", ADAFACTOR),))
    model["0"].grad = torch.tensor([[1.0], [0.0], [1e-12], [0.0]]) * torch.ones(3)
    for group in taken.param_groups:
        group["lr"] = 1e-2
    taken.step()
    assert torch.isfinite(model["0"]).all()
    assert torch.equal(model["0"][1].detach(), before[1])


def by_search(value: float, codes: list[float]) -> float:
    return min(codes, key=lambda code: abs(code - value))


def dynamic_tree(signed: bool) -> list[float]:
    """Dettmers et al. 2022, section 2.2: an indicator bit after i zeros, and a linear fraction behind it."""
    found = {0.0, 1.0}
    for zeros in range(7):
        bits = 6 - zeros + (0 if signed else 1)
        for fraction in range(2**bits):
            middle = 0.1 + 0.9 * (fraction + 0.5) / 2**bits
            found |= {10.0**-zeros * middle} | ({-(10.0**-zeros) * middle} if signed else set())
    return sorted(found)


@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_those_of_dynamic_tree_quantization(signed: bool) -> None:
    codes = eight_bit.dynamic_codes(signed, torch.device("cpu"))
    assert codes.tolist() == pytest.approx(dynamic_tree(signed), rel=1e-6)
    assert len(codes) == 256


def test_a_value_becomes_the_nearest_code_of_its_block_and_blocks_end_with_their_row() -> None:
    torch.manual_seed(0)
    values = torch.randn(3, 300) * torch.rand(3, 300) ** 4 * torch.tensor([[1.0], [1e-4], [0.0]])
    codes = eight_bit.dynamic_codes(True, torch.device("cpu"))
    written, scale = eight_bit.encode(values, codes)
    assert (written.dtype, written.shape, scale.shape) == (torch.uint8, (3, 300), (3, 2))
    read = eight_bit.decode(written, scale, codes)
    tree = dynamic_tree(True)
    for row in range(3):
        for block in (slice(0, 256), slice(256, 300)):
            largest = values[row, block].abs().max().item()
            expected = [by_search(value / largest, tree) * largest if largest else 0.0 for value in values[row, block]]
            assert read[row, block].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_the_first_8_bit_step_is_that_of_adamw_and_later_ones_follow_it() -> None:
    values = weights((8, 300), (300,), dtype=torch.float32)
    wide = AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for mine, yours in zip(moved(NARROW, values, rate, 1), moved(wide, values, rate, 1), strict=True):
        torch.testing.assert_close(mine, yours, atol=1e-6, rtol=0)
    (matrix, vector), (other, same) = moved(NARROW, values, rate), moved(wide, values, rate)
    torch.testing.assert_close(vector, same, atol=1e-6, rtol=0)
    far = (other - values[0]).abs().mean()
    assert (matrix - other).abs().mean() < 0.02 * far


def test_8_bit_adamw_is_that_of_torchao() -> None:
    theirs = pytest.importorskip("torchao.optim").AdamW8bit
    values = weights((32, 256), dtype=torch.float32)
    model = model_of(values)
    other = theirs(model.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1, block_size=256)
    torch.compiler.set_stance("force_eager")
    for step in range(STEPS):
        for weight in model.values():
            weight.grad = gradients(step, weight.detach())
        other.step()
    torch.compiler.set_stance("default")
    (mine,) = moved(NARROW, values, lambda _: 1e-2)
    torch.testing.assert_close(mine, model["0"].detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", [LION, NARROW], ids=["lion", "adamw_8bit"])
def test_a_shard_of_whole_rows_moves_as_it_does_in_the_whole(settings: Settings) -> None:
    (whole,) = weights((8, 300), dtype=torch.float32)
    model = model_of([whole, whole[:3], whole[3:]])
    taken = optimizers(model, (("*", settings),))
    for step in range(STEPS):
        given = gradients(step, whole)
        for weight, rows in zip(model.values(), (given, given[:3], given[3:]), strict=True):
            weight.grad = rows.clone()
        for group in taken.param_groups:
            group["lr"] = rate(step)
        taken.step()
    assert torch.equal(model["0"], torch.cat((model["1"], model["2"])))


@pytest.mark.parametrize("settings", [LION, NARROW, ADAFACTOR], ids=["lion", "adamw_8bit", "adafactor"])
def test_a_state_that_was_saved_continues_to_the_bit(settings: Settings) -> None:
    values = weights((8, 300), (300,), dtype=torch.float32)

    def run(model: nn.ParameterDict, taken: Optimizers, first: int, last: int) -> None:
        for step in range(first, last):
            for weight in model.values():
                weight.grad = gradients(step, weight.detach())
            for group in taken.param_groups:
                group["lr"] = rate(step)
            taken.step()

    model = model_of(values)
    taken = optimizers(model, (("*", settings),))
    run(model, taken, 0, 5)
    again = model_of([weight.detach() for weight in model.values()])
    restored = optimizers(again, (("*", settings),))
    restored.load_state_dict(copy.deepcopy(taken.state_dict()))
    run(model, taken, 5, 10)
    run(again, restored, 5, 10)
    assert all(torch.equal(model[name], again[name]) for name in ("0", "1"))


OPTIMIZERS = (
    "{kind: lion, learning_rate: 1.0e-4}",
    "{kind: adamw_8bit, learning_rate: 1.0e-3}",
    "{kind: adafactor, learning_rate: 1.0e-2}",
    '{kind: adafactor, learning_rate: 1.0e-2, rules: [{match: "embedding.*", optimizer: {kind: lion, learning_rate:'
    ' 1.0e-4}}, {match: "*.q_proj.weight", optimizer: {kind: adamw_8bit, learning_rate: 1.0e-3}}]}',
)


@pytest.mark.parametrize("written", OPTIMIZERS)
@pytest.mark.parametrize("sets", [(), ("model.hidden_size=320", "model.attention.bias=all")])
def test_the_planner_counts_the_states_that_are_kept(written: str, sets: tuple[str, ...], tmp_path: Path) -> None:
    sets = (*sets, f"stages.pretrain.optimizer={written}")
    model, program = compiled(tmp_path, *sets)
    kept = [
        value.numel() * value.element_size()
        for part in by_engine(model, program).parts
        for state in part.state.values()
        for name, value in state.items()
        if name != "step"
    ]
    memory = planned("model.context_length=16", *sets).stage("pretrain").memory
    assert memory is not None
    assert dict(memory.by_cause)["optimizer states"] == sum(kept)


def test_the_program_says_every_decision_of_an_optimizer(tmp_path: Path) -> None:
    text = files(planned("stages.pretrain.optimizer={kind: adafactor, learning_rate: 1.0e-2}"))["train.py"]
    line = '("*", Adafactor(beta2_decay=0.8, eps=1e-15, clip_threshold=1.0, min_scale=0.001, weight_decay=0.0)),'
    assert line in text
    assert module(text.replace("from model import Cache, Model", ""), tmp_path, "program").learning_rate(999) > 0


@pytest.mark.parametrize(
    ("written", "shards"),
    [
        ("{kind: adamw, learning_rate: 1.0e-3}", "elements"),
        (OPTIMIZERS[0], "elements"),
        (OPTIMIZERS[1], "rows"),
        (OPTIMIZERS[3], "matrices"),
    ],
)
def test_a_stage_says_what_its_optimizers_need_whole(written: str, shards: str) -> None:
    work = planned(f"stages.pretrain.optimizer={written}").experiment.stage("pretrain").work
    assert work.shards == shards  # type: ignore[union-attr]
