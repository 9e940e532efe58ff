"""Models that combine at random what other tests try one by one; a failure names the seed that makes it again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from ruff import find_ruff_bin
from torch import Tensor, nn

from specc import driver, ir
from specc.backends import modeling
from specc.diagnostics.render import render
from tests import compiling
from tests.backends import flash_attn_stand_in, remote
from tests.backends.test_model import is_readable
from tests.kinds.combinations import drawn, on_gpu

QUICK, ALL = 60, 500
LENGTH, PROMPT, END, NEW, LABEL = 17, 5, 256, 5, 3
UNTRAINED = {"SPC135", "SPC136"}
"""What says that some parameters get no gradient."""
SEEDS = [*range(QUICK), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(QUICK, ALL))]


@dataclass(frozen=True)
class Made:
    """A model of a seed and what it was made of."""

    plan: ir.Plan
    files: dict[str, str]
    module: ModuleType
    model: Any

    @property
    def lowered(self) -> ir.Model:
        return self.plan.experiment.model


@pytest.mark.parametrize("seed", SEEDS)
def test_a_model_drawn_at_random_does_all_that_is_promised_of_it(seed: int, tmp_path: Path) -> None:
    sets = drawn(seed)
    print(f"seed {seed}:", *sets)  # pytest shows it with a failure
    # Of encoders, no program trains other heads than that of masked tokens; their code is written all the same.
    wishes = driver.Wishes(emitting='"kind": "encoder"' not in sets[0])
    outcome = driver.check(compiling.TINY, sets, wishes)
    if outcome.plan is None:
        assert outcome.failed
        pytest.skip(render(outcome.diagnostics, outcome.texts, "short"))
    files = compiling.files(outcome.plan)
    module = compiling.module(files["model.py"], tmp_path)
    torch.manual_seed(seed)
    made = Made(outcome.plan, files, module, module.Model())
    its_weights_are_as_lowered(made)
    its_files_are_tidy(made, tmp_path)
    scaled(made.model)
    JUDGES[made.lowered.family](made, tmp_path)
    every_parameter_has_a_gradient(made, still=bool(UNTRAINED & {found.code for found in outcome.diagnostics}))
    in_bf16_all_is_finite(made)


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # PyTorch, on import of FlexAttention
@pytest.mark.parametrize("kernel", ["flex", "flash"])
@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 100))])
def test_code_for_the_kernels_of_gpus_is_tidy_and_has_its_weights(
    seed: int, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", flash_attn_stand_in)
    sets = on_gpu(seed, kernel)
    print(f"seed {seed}:", *sets)
    outcome = driver.check(compiling.TINY, sets, driver.Wishes(emitting=True))
    if outcome.plan is None:
        assert outcome.failed
        pytest.skip(render(outcome.diagnostics, outcome.texts, "short"))
    files = compiling.files(outcome.plan)
    module = compiling.module(files["model.py"], tmp_path)
    with torch.device("meta"):
        made = Made(outcome.plan, files, module, module.Model())
    its_weights_are_as_lowered(made)
    its_files_are_tidy(made, tmp_path)


def its_weights_are_as_lowered(made: Made) -> None:
    said = {weight.name: weight.sizes for weight in made.lowered.weights()}
    found = {name: tuple(value.shape) for name, value in made.model.named_parameters()}
    assert found == said
    assert list(found) == list(said)
    assert made.lowered.parameters == sum(value.numel() for value in made.model.parameters())


def its_files_are_tidy(made: Made, folder: Path) -> None:
    """Formatted, of at most 120 columns, no name undefined or unused; the model has no branch on a size."""
    is_readable(made.files["model.py"], lines=500 if made.lowered.encoder else 400)  # two stacks, and every option
    out = folder / "all"
    for path, text in made.files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text, encoding="utf-8")
    lints = (("check", "--select", "F,E501", "--ignore", "F401"), ("format", "--check"))
    for command in lints:
        wanted = [find_ruff_bin(), command[0], "--isolated", "--no-cache", "--line-length", "120", *command[1:], "."]
        done = subprocess.run(wanted, cwd=out, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@torch.no_grad()
def scaled(model: nn.Module) -> None:
    """Weights of the size of trained ones; vectors stay around what they begin with."""
    for value in model.parameters():
        if value.ndim > 1:
            nn.init.normal_(value, std=0.15)
        else:
            value.add_(torch.randn_like(value), alpha=0.15)
    for name, value in model.named_buffers():
        if name.endswith("correction"):
            nn.init.normal_(value, std=0.15)


def near(found: Tensor, wanted: Tensor) -> None:
    """Equal but for rounding, which grows with the largest value."""
    assert wanted.isfinite().all()
    torch.testing.assert_close(found, wanted, atol=1e-5 * max(1.0, float(wanted.abs().max())), rtol=0)


@torch.no_grad()
def judge_decoder(made: Made, folder: Path) -> None:
    model, ids = made.model.eval(), torch.randint(0, END, (2, LENGTH))
    full = model(ids)
    changed = ids.clone()
    changed[:, 11] = (ids[:, 11] + 1) % END
    after = model(changed)
    near(after[:, :11], full[:, :11])
    assert not torch.allclose(after[:, 11], full[:, 11])
    cache = made.module.Cache(2, LENGTH, next(model.parameters()))
    near(decoded(model, ids, cache, {}), full)
    if made.lowered.values["document"] is not None:
        documents_are_apart(made)
    if "prefix_B" in made.files["model.py"]:
        whole = {"prefix_B": torch.tensor([PROMPT, PROMPT])}
        cache = made.module.Cache(2, LENGTH, next(model.parameters()))
        near(decoded(model, ids, cache, whole), model(ids, **whole))
        assert not torch.allclose(model(ids, **whole)[:, 0], full[:, 0])
    if "prediction" in made.lowered.values:
        near(model.predict(ids)[0], full)
    if f"{modeling.FOLDER}/{modeling.MODELING}" in made.files:
        transformers_computes_the_same(made, ids, folder)


def decoded(model: Any, ids: Tensor, cache: Any, said: dict[str, Tensor]) -> Tensor:
    """Logits of a prompt in one call and then of one token a call."""
    steps = [model(ids[:, :PROMPT], cache, **said)]
    return torch.cat([*steps, *(model(ids[:, t : t + 1], cache) for t in range(PROMPT, ids.shape[1]))], dim=1)


def documents_are_apart(made: Made) -> None:
    """Each document of a sequence gives what it gives alone, and a cache changes nothing."""
    texts = [torch.randint(0, END, (length,)) for length in (4, 8, 0, 5)]
    texts = [texts[0], *(torch.cat((torch.tensor([END]), text)) for text in texts[1:])]
    row = torch.cat(texts)[None]
    packed = made.model(row)
    near(packed, torch.cat([made.model(text[None]) for text in texts], dim=1))
    cache = made.module.Cache(1, row.shape[1], next(made.model.parameters()))
    near(decoded(made.model, row, cache, {}), packed)


def transformers_computes_the_same(made: Made, ids: Tensor, folder: Path) -> None:
    """The module for transformers: logits by each of its attentions, and the tokens that it generates."""
    theirs = remote.load(remote.exported(made.plan, made.files, made.model, folder / "exported"))
    wanted = made.model(ids)
    for name in {theirs.config._attn_implementation, "eager"}:
        theirs.set_attn_implementation(name)
        near(theirs(ids).logits, wanted)
    told = {"attention_mask": torch.ones_like(ids), "pad_token_id": 0, "eos_token_id": None}
    said = theirs.generate(ids, do_sample=False, max_new_tokens=NEW, **told)
    for _ in range(NEW):
        ids = torch.cat((ids, made.model(ids)[:, -1:].argmax(dim=-1)), dim=1)
    assert torch.equal(said, ids)


@torch.no_grad()
def judge_encoder(made: Made, folder: Path) -> None:
    """Tokens see both sides, and never the padding."""
    model, ids = made.model.eval(), torch.randint(0, END, (2, LENGTH))
    attended = torch.arange(LENGTH) < torch.tensor([[LENGTH], [9]])
    full, short = model(ids, attended), model(ids[1:, :9])
    near(model(ids)[:1], full[:1])
    near(full[1:, :9] if full.ndim == 3 and full.shape[1] == LENGTH else full[1:], short)
    if full.ndim == 3:
        changed = ids.clone()
        changed[:, 3] = (ids[:, 3] + 1) % END
        assert not torch.allclose(model(changed)[:, 2], model(ids)[:, 2])


@torch.no_grad()
def judge_encoder_decoder(made: Made, folder: Path) -> None:
    """What is written sees its past and what was read without its padding; a cache changes nothing."""
    model, ids, own = made.model.eval(), torch.randint(0, END, (2, LENGTH)), torch.randint(0, END, (2, LENGTH))
    attended = torch.arange(LENGTH) < torch.tensor([[LENGTH], [9]])
    full = model(ids, own, attended)
    near(full[1:], model(ids[1:, :9], own[1:]))
    changed = own.clone()
    changed[:, 11] = (own[:, 11] + 1) % END
    near(model(ids, changed, attended)[:, :11], full[:, :11])
    cache, memory = made.module.Cache(2, LENGTH, next(model.parameters())), model.encode(ids, attended)
    steps = [model.decode(own[:, :PROMPT], memory, attended, cache)]
    steps += [model.decode(own[:, t : t + 1], memory, attended, cache) for t in range(PROMPT, LENGTH)]
    near(torch.cat(steps, dim=1), full)
    read = ids.clone()
    read[:, 0] = (ids[:, 0] + 1) % END
    assert not torch.allclose(model(read, own, attended), full)


JUDGES = {"decoder": judge_decoder, "encoder": judge_encoder, "encoder_decoder": judge_encoder_decoder}


def outputs(made: Made) -> tuple[Tensor, ...]:
    """All that the model gives for tokens."""
    ids = torch.randint(0, END, (2, LENGTH))
    if "prediction" in made.lowered.values:
        return tuple(made.model.predict(ids))
    if made.lowered.family == "encoder_decoder":
        return (made.model(ids, ids.flip(1)),)
    return (made.model(ids),)


def every_parameter_has_a_gradient(made: Made, *, still: bool) -> None:
    """Finite, and unless some are said to stay `still`, not all zero."""
    made.model.train()
    sum((torch.randn_like(one) * one).sum() for one in outputs(made)).backward()
    lacking = [name for name, value in made.model.named_parameters() if value.grad is None]
    assert not lacking
    strange = [name for name, value in made.model.named_parameters() if not value.grad.isfinite().all()]
    assert not strange
    zero = [name for name, value in made.model.named_parameters() if not value.grad.any()]
    assert still or not zero, zero


@torch.no_grad()
def in_bf16_all_is_finite(made: Made) -> None:
    made.model.eval().to(torch.bfloat16)
    assert all(one.isfinite().all() for one in outputs(made))
