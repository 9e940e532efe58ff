"""Every cell of the table of attention kernels: what a kernel can do equals the written-out scores, and what it cannot
is refused.

FlexAttention runs uncompiled on a CPU, and forward only. `flash_attn` runs on GPUs only: a module with its documented
semantics stands in for it (tests/backends/flash_attn_stand_in.py), so these tests hold the generated calls to the
published interface, not the kernels.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from specc import driver
from specc.kinds.attention.kernels import ABILITIES, KERNELS, Kernel, lacking
from tests import compiling
from tests.backends import flash_attn_stand_in
from tests.compiling import TINY

# PyTorch loads a part of itself on the first use of FlexAttention that warns of another part, and says that it is slow.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning"),
]

# What asks for each ability: keys of the attention, and other keys of the spec.
ASKED = {
    "causal": ({}, ()),
    "prefix": ({}, ("stages.pretrain.objective={kind: prefix}",)),
    "window": ({"window": 6}, ()),
    "alibi": ({}, ("model.position={kind: alibi, multiplier: 0.5}",)),
    "bias": ({}, ("model.position={kind: relative, num_buckets: 8, max_distance: 16}",)),
    "softcap": ({"logit_softcap": 3.0}, ()),
    "sinks": ({"sinks": "true"}, ()),
    "varlen": ({}, ("stages.pretrain.packing.cross_document=false",)),
    "dropout": ({}, ("model.dropout.attention=0.1",)),
    "unequal": ({}, ()),
}
GPU = ("cluster={device: h100_sxm}", "stages.pretrain.precision=bf16", "model.context_length=32")
HEADS = "kind: gqa, num_heads: 4, num_kv_heads: 2, scale: 0.3"
LATENT = "kind: mla, num_heads: 4, kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, scale: 0.3"
# Latent attention takes no window, no softcap, no sinks and rotary positions only.
OF_LATENTS = ("causal", "varlen", "dropout", "unequal")
END = 256


def sets(kernel: str, asked: tuple[str, ...], *more: str, heads: str = HEADS) -> tuple[str, ...]:
    """A spec whose attention asks for abilities, with the kernel."""
    if heads == LATENT:
        heads = f"{LATENT}, v_head_dim: {16 if 'unequal' in asked else 24}"
    own = "".join(f", {key}: {value}" for ability in asked for key, value in ASKED[ability][0].items())
    outside = tuple(word for ability in asked for word in ASKED[ability][1])
    positions = any(word.startswith("model.position") for word in outside)
    rope = () if positions else ("model.position={kind: rope, rope_theta: 100}",)
    return (*GPU, *rope, f"model.attention={{{heads}{own}, kernel: {kernel}}}", *outside, *more)


def codes(*words: str) -> list[str]:
    return [found.code for found in driver.check(TINY, words).diagnostics if found.severity == "error"]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "flash_attn", flash_attn_stand_in)
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


def several() -> Tensor:
    """Two sequences of several documents; one begins within a document, as a window cut from a stream does."""
    torch.manual_seed(1)
    ids = torch.randint(0, 256, (2, 17))
    ids[0, [0, 4, 5, 12]] = END
    ids[1, [7, 13]] = END
    return ids


def logits(
    module: ModuleType, weights: dict[str, Tensor] | None, ids: Tensor, prefix: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The weights, the logits of one pass, and those of a prompt of eight tokens and one token a call."""
    torch.manual_seed(0)
    model = module.Model().eval()
    if weights is None:
        for value in model.parameters():
            torch.nn.init.normal_(value, std=0.2)
    else:
        model.load_state_dict(weights)
    with torch.no_grad():
        full = model(ids, **prefix)
        cache = module.Cache(2, ids.shape[1], next(model.parameters()))
        steps = [model(ids[:, :8], cache, **prefix), *(model(ids[:, t : t + 1], cache) for t in range(8, ids.shape[1]))]
    return model.state_dict(), full, torch.cat(steps, dim=1)


def hold(folder: Path, kernel: str, asked: tuple[str, ...], *more: str, heads: str = HEADS) -> None:
    """Logits of the kernel equal those of the scores written out, in one pass and with a cache."""
    ids, prefix = several(), {"prefix_B": torch.tensor([6, 0])} if "prefix" in asked else {}
    weights, expected, _ = logits(compiling.model(folder, *sets("eager", asked, *more, heads=heads)), None, ids, prefix)
    _, full, steps = logits(compiling.model(folder, *sets(kernel, asked, *more, heads=heads)), weights, ids, prefix)
    torch.testing.assert_close(full, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(steps, expected, atol=1e-5, rtol=1e-5)


def able(row: Kernel, asked: tuple[str, ...]) -> bool:
    return not lacking(row, asked)


@pytest.mark.parametrize("ability", ABILITIES)
@pytest.mark.parametrize("row", KERNELS, ids=lambda row: row.name)
def test_each_cell_of_the_table_is_what_the_generated_code_does(row: Kernel, ability: str, tmp_path: Path) -> None:
    assert row.emitted
    heads = LATENT if ability == "unequal" else HEADS
    found = codes(*sets(row.name, (ability,), heads=heads))
    if able(row, (ability,)):
        assert not found
        hold(tmp_path, row.name, (ability,), heads=heads)
    else:
        assert found == ["SPC110"]


# Positions exclude each other, this version combines a prefix with little (SPC813, SPC525), and heads of unequal sizes
# are those of latent attention.
EXCLUDED = {("alibi", "bias"), *(("prefix", other) for other in ("window", "alibi", "bias", "varlen"))}
PAIRS = [
    pair
    for pair in itertools.combinations([ability for ability in ABILITIES if ability not in ("causal", "unequal")], 2)
    if pair not in EXCLUDED
]
FUSED = [row for row in KERNELS if row.name in ("flex", "flash")]


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
@pytest.mark.parametrize("row", FUSED, ids=lambda row: row.name)
def test_abilities_work_together_or_are_refused(row: Kernel, pair: tuple[str, ...], tmp_path: Path) -> None:
    if able(row, pair):
        hold(tmp_path, row.name, pair)
    else:
        assert set(codes(*sets(row.name, pair))) == {"SPC110"}


@pytest.mark.parametrize("asked", [OF_LATENTS[:1], OF_LATENTS[1:2], ("varlen", "unequal")], ids="+".join)
@pytest.mark.parametrize("row", KERNELS, ids=lambda row: row.name)
def test_latent_attention_works_with_every_kernel_that_can(row: Kernel, asked: tuple[str, ...], tmp_path: Path) -> None:
    if able(row, asked):
        hold(tmp_path, row.name, asked, heads=LATENT)
    else:
        assert codes(*sets(row.name, asked, heads=LATENT)) == ["SPC110"]


ALL = {
    "flex": ("window", "alibi", "softcap", "sinks", "varlen"),
    "flash": ("window", "alibi", "softcap", "varlen", "dropout"),
}


@pytest.mark.parametrize("kernel", ALL)
def test_all_at_once_in_layers_that_differ(kernel: str, tmp_path: Path) -> None:
    pattern = HEADS + ", pattern: LG"
    hold(tmp_path, kernel, ALL[kernel], heads=pattern)
    hold(tmp_path, kernel, ("window", "varlen"), heads=pattern.replace(", num_kv_heads: 2", "").replace("gqa", "mha"))
    hold(tmp_path, kernel, ("window",), heads=pattern.replace(", scale: 0.3", ""))


@pytest.mark.parametrize("documents", [(), ("varlen",)], ids=["one", "several"])
def test_slopes_in_bf16_are_a_bias_that_flex_adds_and_flash_does_not(
    documents: tuple[str, ...], tmp_path: Path
) -> None:
    falcon = "model.position={kind: alibi, slope_precision: bf16, multiplier: 0.25}"
    hold(tmp_path, "flex", documents, falcon)
    assert codes(*sets("flash", documents, falcon)) == ["SPC110"]


def test_dropout_is_given_to_the_kernel_while_training_only(tmp_path: Path) -> None:
    module = compiling.model(tmp_path, *sets("flash", ("dropout", "varlen")))
    torch.manual_seed(0)
    model, ids = module.Model(), several()
    assert not torch.equal(model(ids), model(ids))
    assert torch.equal(model.eval()(ids), model(ids))


def test_flash_has_a_backward_pass_through_what_is_packed(tmp_path: Path) -> None:
    asked = ("window", "alibi", "varlen")
    models = [compiling.model(tmp_path, *sets(kernel, asked)).Model() for kernel in ("eager", "flash")]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        model(several()).square().mean().backward()
    for (name, ours), theirs in zip(models[1].named_parameters(), models[0].parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4, msg=name)
