"""The table of attention kernels is what the checks say, what the page shows and what PyTorch does."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch.nn import functional as F

from specc import driver
from specc.kinds.attention.kernel_check import kernel_derivation
from specc.kinds.attention.kernels import ABILITIES, AUTO, KERNELS, Kernel, KernelName, able, as_markdown, lacking
from tests.compiling import TINY
from tests.conftest import ROOT

HEADS = "kind: gqa, num_heads: 4, num_kv_heads: 2"
GPU = ("cluster={device: h100_sxm}", "stages.pretrain.precision=bf16")


def codes(*sets: str) -> list[str]:
    return [found.code for found in driver.check(TINY, sets).diagnostics if found.severity == "error"]


def test_every_kernel_of_the_language_is_a_row_with_every_cell() -> None:
    assert [AUTO, *(row.name for row in KERNELS)] == [AUTO, *get_args(KernelName)[1:]]
    assert all(set(row.abilities) == set(ABILITIES) for row in KERNELS)


def test_the_page_shows_the_table() -> None:
    """To write it again: append `as_markdown()` below the introduction."""
    assert (ROOT / "docs/attention_kernels.md").read_text(encoding="utf-8").endswith(as_markdown())


def test_what_sdpa_has_and_lacks_is_what_pytorch_documents() -> None:
    documented = str(F.scaled_dot_product_attention.__doc__)
    assert "softcap" not in documented
    assert "attn_mask" in documented
    assert "is_causal" in documented


def test_flex_has_no_backward_pass_on_a_cpu() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    heads = torch.randn(1, 2, 16, 16, requires_grad=True)
    with pytest.raises(NotImplementedError, match="CPU"):
        flex_attention(heads, heads, heads).sum().backward()


@pytest.mark.parametrize("row", KERNELS, ids=lambda row: row.name)
def test_the_check_refuses_what_the_table_says(row: Kernel) -> None:
    asked = {"softcap": "logit_softcap: 30.0", "window": "window: 32"}
    for ability, key in asked.items():
        found = codes(f"model.attention={{{HEADS}, {key}, kernel: {row.name}}}", *GPU)
        assert found == ["SPC110"] * len(lacking(row, (ability,)))


@pytest.mark.parametrize("row", KERNELS, ids=lambda row: row.name)
@pytest.mark.parametrize(("value", "unequal"), [(16, True), (24, False)])
def test_a_kernel_takes_value_heads_of_another_size_as_the_table_says(row: Kernel, value: int, unequal: bool) -> None:
    sizes = f"num_heads: 4, kv_lora_rank: 64, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: {value}"
    found = codes(f"model.attention={{kind: mla, {sizes}, kernel: {row.name}}}", *GPU)
    assert found == ["SPC110"] * len(lacking(row, ("unequal",) if unequal else ()))


@pytest.mark.parametrize(("value", "keeps"), [(24, False), (12, True)])
def test_pytorch_takes_value_heads_of_another_size_and_keeps_the_scores_on_a_cpu(value: int, keeps: bool) -> None:
    heads, values = torch.randn(1, 2, 16, 24, requires_grad=True), torch.randn(1, 2, 16, value)
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape), lambda _: None):
        fused = F.scaled_dot_product_attention(heads, heads, values)
    shares = (heads @ heads.transpose(2, 3) * 24**-0.5).softmax(dim=-1)
    torch.testing.assert_close(fused, shares @ values, atol=1e-6, rtol=1e-5)
    assert any(shape[-2:] == (16, 16) for shape in kept) == keeps


def test_the_kernel_that_help_names_has_no_findings_of_its_own() -> None:
    (found,) = driver.check(TINY, (f"model.attention={{{HEADS}, logit_softcap: 30.0, kernel: sdpa}}",)).diagnostics
    assert found.help == "use `kernel: eager`; on a GPU `flex` and `flash` can too"
    assert codes(f"model.attention={{{HEADS}, logit_softcap: 30.0, kernel: eager}}") == []


def test_auto_is_a_kernel_that_can() -> None:
    assert codes(f"model.attention={{{HEADS}, logit_softcap: 30.0}}") == []
    both = [
        driver.check(TINY, (f"model.attention={{{HEADS}, logit_softcap: 30.0{k}}}",)) for k in ("", ", kernel: eager")
    ]
    auto, eager = (
        [part.values.get("attend") for _, _, part in outcome.plans[0].experiment.model.counted()] for outcome in both
    )
    assert auto == eager
    assert "model/attention/attend/eager_expanded.py.j2" in auto


def test_documents_are_kept_apart_by_every_kernel() -> None:
    assert [row.name for row in able(("causal", "varlen"))] == ["sdpa", "eager", "flex", "flash"]


# What is asked for, and the headline of the refusal.
REFUSED = {
    (f"model.attention={{{HEADS}, kernel: flash}}", "stages.pretrain.precision=bf16"): (
        "kernel `flash` does not run on `cpu`"
    ),
    (f"model.attention={{{HEADS}, kernel: flash}}", "cluster.device=h100_sxm"): (
        "kernel `flash` takes bf16 and fp16, and stage `pretrain` is fp32"
    ),
    (f"model.attention={{{HEADS}, kernel: flash, head_dim: 512}}", *GPU): (
        "kernel `flash` takes heads of up to 256 values, and these have 512"
    ),
}


@pytest.mark.parametrize("sets", REFUSED)
def test_machines_precisions_and_sizes_are_refused(sets: tuple[str, ...]) -> None:
    found = driver.check(TINY, sets).diagnostics
    errors = [one for one in found if one.severity == "error"]
    assert [one.headline for one in errors if one.code == "SPC110"] == [REFUSED[sets]]
    assert errors[0].help == "use `kernel: sdpa`"


def test_flex_takes_no_head_below_the_tiles_of_its_kernels() -> None:
    small = f"model.attention={{{HEADS}, head_dim: 8, kernel: flex}}"
    (found,) = [one for one in driver.check(TINY, (small, *GPU)).diagnostics if one.severity == "error"]
    assert found.headline == "kernel `flex` takes heads from 16 values on, and these have 8"
    assert codes(small.replace("head_dim: 8", "head_dim: 16"), *GPU) == []


@pytest.mark.parametrize("kernel", ["flex", "flash"])
def test_kernels_of_gpus_hold_no_bias_where_others_do(kernel: str) -> None:
    sets = (*GPU, "model.position={kind: alibi}", "stages.pretrain.packing.cross_document=false")
    sdpa, fused = (
        driver.check(TINY, (*sets, f"model.attention={{{HEADS}, window: 32, kernel: {name}}}"))
        .plans[0]
        .experiment.model
        for name in ("sdpa", kernel)
    )
    held = [[(part.bias_per_layer_stack, part.bias_per_sequence) for _, _, part in m.counted()] for m in (sdpa, fused)]
    assert max(held[0]) == (4, 0)
    assert (0, 4) in held[0]
    assert set(held[1]) == {(0, 0)}


def test_why_and_the_lock_file_say_which_kernel_auto_is() -> None:
    outcome = driver.check(TINY, (f"model.attention={{{HEADS}, logit_softcap: 30.0}}",))
    plan = outcome.plans[0]
    lock = next(artifact.text for artifact in driver.emit(plan) if artifact.path == "experiment.lock.yaml")
    assert "    kernel: auto  # eager\n" in lock
    asked = ("causal", "softcap")
    said = kernel_derivation(asked)
    assert (said.path, said.value) == ("model.attention.kernel", "eager")
    assert "`sdpa` cannot apply a logit softcap" in said.reasons
