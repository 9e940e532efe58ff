"""Lengths, rates and sizes of training."""

from __future__ import annotations

import math
import re

import pytest

from specc import driver
from specc.checks.training import check_tokens_per_parameter
from specc.diagnostics import Diagnostic
from tests.compiling import TINY, planned

STAGE = "stages.pretrain"


def found(*sets: str, code: str) -> list[Diagnostic]:
    return [one for one in driver.check(TINY, sets).diagnostics if one.code == code]


@pytest.mark.parametrize(
    ("duration", "steps"), [("6M tokens", 5860), ("5860 steps", 5860), ("1 epoch", 4883), ("5859.375Ki tokens", 5860)]
)
def test_steps_that_follow_are_accepted_and_others_are_told_the_number(duration: str, steps: int) -> None:
    same = (f"{STAGE}.duration={duration}", "data.text.tokens=5M tokens")
    assert math.ceil(5e6 / 1024) == 4883
    assert not driver.check(TINY, (*same, f"{STAGE}.steps={steps}")).diagnostics
    (diagnostic,) = found(*same, f"{STAGE}.steps={steps - 1}", code="SPC303")
    assert diagnostic.help == f"use `steps: {steps}`, or leave it out: it follows"


def test_asserted_steps_change_no_key() -> None:
    assert planned(f"{STAGE}.steps=100").experiment.identity == planned().experiment.identity


def test_the_arithmetic_of_the_steps_is_shown() -> None:
    sets = (f"{STAGE}.global_batch_size=524288 tokens", f"{STAGE}.duration=6B tokens", f"{STAGE}.steps=10000")
    (diagnostic,) = found(*sets, code="SPC303")
    assert diagnostic.headline == "10,000 steps x 524,288 tokens is 5.24B, and the duration is 6B tokens"
    assert diagnostic.help == "use `steps: 11445`, or leave it out: it follows"


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 99, 100, 1000])
@pytest.mark.parametrize(
    "schedule", ["wsd, warmup: 100%", "wsd, warmup: 60%, decay: 70%", "cosine, warmup: 2000 steps"]
)
def test_the_help_for_a_warm_up_that_does_not_fit_fits(steps: int, schedule: str) -> None:
    sets = (f"{STAGE}.duration={steps} steps", f"{STAGE}.schedule={{kind: {schedule}}}")
    while diagnostics := found(*sets, code="SPC302"):
        (diagnostic,) = diagnostics
        advice = re.fullmatch(r"use `(\w+): (.+)`", diagnostic.help or "")
        assert advice is not None
        assert len(sets) < 4
        sets = (*sets, f"{STAGE}.schedule.{advice[1]}={advice[2]}")
    assert len(sets) > 2 or steps == 1
    assert driver.check(TINY, sets).plan is not None


def test_a_warm_up_and_a_decay_may_fill_the_stage() -> None:
    assert not found(f"{STAGE}.schedule={{kind: wsd, warmup: 30 steps, decay: 70 steps}}", code="SPC302")
    assert found(f"{STAGE}.schedule={{kind: wsd, warmup: 30 steps, decay: 71 steps}}", code="SPC302")


@pytest.mark.parametrize(("precision", "scale", "code"), [("fp16", "null", "SPC307"), ("bf16", "1024.0", "SPC314")])
def test_fp16_and_a_loss_scale_come_together(precision: str, scale: str, code: str) -> None:
    assert found(f"{STAGE}.precision={precision}", f"{STAGE}.loss_scale={scale}", code=code)


@pytest.mark.parametrize("scale", ["dynamic", "1024.0", "128"])
def test_fp16_with_a_loss_scale_is_planned(scale: str) -> None:
    assert not driver.check(TINY, (f"{STAGE}.precision=fp16", f"{STAGE}.loss_scale={scale}")).diagnostics


def test_tokens_per_parameter_are_looked_at_only_where_the_spec_asks() -> None:
    (finding,) = check_tokens_per_parameter(planned().experiment)
    assert (finding.code, finding.severity) == ("SPC309", "off")
    assert not driver.check(TINY).diagnostics
    enough = planned(f"{STAGE}.duration=3M tokens").experiment
    assert enough.stages[0].work.tokens / enough.model.parameters > 20  # type: ignore[union-attr, operator]
    assert not list(check_tokens_per_parameter(enough))


@pytest.mark.parametrize(("steps", "beta", "help_text"), [(999, 0.999, "use 0.99"), (150, 0.998, "use 0.99")])
def test_a_memory_longer_than_the_stage_is_told(steps: int, beta: float, help_text: str) -> None:
    betas = f"{STAGE}.optimizer.betas=[0.9, {beta}]"
    (diagnostic,) = found(f"{STAGE}.duration={steps} steps", betas, code="SPC310")
    assert (diagnostic.help or "").startswith(help_text)
    assert not found(f"{STAGE}.duration=1000 steps", betas, code="SPC310")


def test_the_default_memory_is_never_too_long_for_a_trial() -> None:
    assert not driver.check(TINY, (f"{STAGE}.duration=2 steps", f"{STAGE}.schedule.warmup=1 steps")).diagnostics


@pytest.mark.parametrize(("rate", "warned"), [("1.1e-2", False), ("1.3e-2", True), ("3.0", True)])
def test_a_slip_of_the_exponent_is_told(rate: str, warned: bool) -> None:
    assert bool(found(f"{STAGE}.optimizer.learning_rate={rate}", code="SPC316")) is warned


def test_the_rate_of_muon_is_not_held_against_that_of_adamw() -> None:
    assert not found(f"{STAGE}.optimizer={{kind: muon, learning_rate: 0.02}}", code="SPC316")
    rule = '{match: "*norm.weight", optimizer: {kind: adamw, learning_rate: 0.5}}'
    (diagnostic,) = found(f"{STAGE}.optimizer={{kind: muon, learning_rate: 0.02, rules: [{rule}]}}", code="SPC316")
    assert "833 times" in diagnostic.headline


@pytest.mark.parametrize("setting", ["validation.every=101 steps", "log_every=101 steps"])
def test_a_distance_beyond_the_stage_is_told(setting: str) -> None:
    assert found(f"{STAGE}.{setting}", code="SPC315")
    assert not found(f"{STAGE}.{setting.replace('101', '100')}", code="SPC315")


@pytest.mark.parametrize(("duration", "told"), [("1023 tokens", True), ("1024 tokens", False), ("0.1 epochs", True)])
def test_less_than_one_step_is_refused(duration: str, told: bool) -> None:
    codes = [
        one.code
        for one in driver.check(
            TINY, (f"{STAGE}.duration={duration}", "data.text.tokens=9K tokens", f"{STAGE}.schedule.warmup=0 steps")
        ).diagnostics
    ]
    assert ("SPC318" in codes) is told
    assert not told or codes == ["SPC318"]
