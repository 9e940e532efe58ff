"""The generated `learning_rate` against transformers and the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from tests.compiling import files, module, planned

PEAK, STEPS = 1e-3, 200


def ours(folder: Path, schedule: str) -> Callable[[int], float]:
    """The generated function; the rate of step s is that of the update after s others."""
    plan = planned(f"stages.pretrain.schedule={{{schedule}}}", f"stages.pretrain.duration={STEPS} steps")
    program = files(plan)["train.py"].replace("from model import Cache, Model", "")
    return module(program, folder, "program").learning_rate  # type: ignore[no-any-return]


def theirs(make: Callable[..., torch.optim.lr_scheduler.LambdaLR], **options: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = make(optimizer, **options)
    rates = []
    for _ in range(STEPS + 1):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


WSD = {"num_warmup_steps": 20, "num_decay_steps": 40, "num_training_steps": STEPS}
CASES = [
    ("kind: linear, warmup: 20 steps", transformers.get_linear_schedule_with_warmup,
     {"num_warmup_steps": 20, "num_training_steps": STEPS}),
    ("kind: cosine, warmup: 20 steps, min_ratio: 0.0", transformers.get_cosine_schedule_with_warmup,
     {"num_warmup_steps": 20, "num_training_steps": STEPS}),
    ("kind: inverse_sqrt, warmup: 20 steps", transformers.get_inverse_sqrt_schedule, {"num_warmup_steps": 20}),
    ("kind: constant, warmup: 20 steps", transformers.get_constant_schedule_with_warmup, {"num_warmup_steps": 20}),
    *(
        (f"kind: wsd, warmup: 20 steps, decay: {decay}, shape: {shape}, min_ratio: {floor}",
         transformers.get_wsd_schedule, {**WSD, "decay_type": name, "min_lr_ratio": floor})
        for decay, floor in (("20%", 0.0), ("40 steps", 0.1))
        for shape, name in (("linear", "linear"), ("cosine", "cosine"), ("sqrt", "1-sqrt"))
    ),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "make", "options"), CASES, ids=[case[0] for case in CASES])
def test_a_schedule_is_that_of_transformers(
    schedule: str, make: Callable[..., torch.optim.lr_scheduler.LambdaLR], options: dict[str, object], tmp_path: Path
) -> None:
    rate, expected = ours(tmp_path, schedule), theirs(make, **options)
    # Ours begins with a step of peak / warm-up, theirs with one of 0 (their WSD with one of the final ratio).
    rise = theirs(transformers.get_constant_schedule_with_warmup, num_warmup_steps=20)
    assert [rate(step) for step in range(20)] == pytest.approx(rise[1:21], rel=1e-9)
    assert [rate(step) for step in range(20, STEPS + 1)] == pytest.approx(expected[20:], rel=1e-9, abs=1e-12)


def test_inverse_sqrt_is_the_formula_of_the_transformer_up_to_its_peak(tmp_path: Path) -> None:
    rate, warmup = ours(tmp_path, "kind: inverse_sqrt, warmup: 20 steps"), 20
    for step in range(1, STEPS):
        noam = min(step**-0.5, step * warmup**-1.5) * math.sqrt(warmup) * PEAK
        assert rate(step - 1 if step <= warmup else step) == pytest.approx(noam, rel=1e-9)


def test_literals_are_what_a_person_would_write(tmp_path: Path) -> None:
    schedule = "stages.pretrain.schedule={kind: linear, warmup: 20 steps, min_ratio: 0.1}"
    text = files(planned(schedule, "stages.pretrain.optimizer.learning_rate=4.0e-3"))["train.py"]
    assert "return 0.004 - 0.0036 * progress" in text
