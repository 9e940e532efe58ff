"""What each attention kernel can do: the one table behind the checks, their messages and docs/attention_kernels.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

KernelName = Literal["auto", "sdpa", "eager", "flex", "flash"]
AUTO = "sdpa"
"""What `auto` stands for wherever it can do what is asked: it is fused, and runs on every device."""


@dataclass(frozen=True)
class Cell:
    """Whether a kernel has an ability; `how` it is done, or why it is not, and where that is written."""

    able: bool
    how: str
    source: str


@dataclass(frozen=True)
class Kernel:
    """A row: abilities by name, the machines and precisions that it runs on, and the largest head."""

    name: str
    title: str
    emitted: bool
    """Whether this version emits code for it."""
    abilities: Mapping[str, Cell]
    machines: tuple[str, ...]
    precisions: tuple[str, ...]
    head_dims: tuple[int, int | None]
    """The smallest head that it takes, and the largest; None is any."""
    runs_on: str
    """Source of machines, precisions and head sizes."""


ABILITIES = {
    "causal": "mask the future",
    "prefix": "show a prefix as a whole",
    "window": "keep to a sliding window",
    "alibi": "add a slope times the distance to the scores",
    "bias": "add any other bias to the scores",
    "softcap": "apply a logit softcap",
    "sinks": "give a share to learned sinks",
    "varlen": "keep packed documents apart",
    "dropout": "drop shares while training",
    "unequal": "take value heads of another size than key heads",
}
"""Columns, as what a kernel can or cannot do."""

_TORCH = "PyTorch, torch.nn.functional.scaled_dot_product_attention"
_FLEX = "PyTorch, torch.nn.attention.flex_attention; Dong et al. 2024, arXiv:2412.05496"
_FLASH = "flash-attn 2.8, flash_attn_interface.py, flash_attn_func and flash_attn_varlen_func"
_WRITTEN_OUT = "the generated lines themselves"

KERNELS = (
    Kernel(
        "sdpa",
        "PyTorch's fused attention",
        True,
        {
            "causal": Cell(True, "`is_causal`: masked blocks are skipped", _TORCH),
            "prefix": Cell(True, "a bias of context x context for each sequence", _TORCH),
            "window": Cell(True, "a bias of context x context; masked scores are computed all the same", _TORCH),
            "alibi": Cell(True, "`attn_mask`, one tensor of heads x context x context", _TORCH),
            "bias": Cell(True, "`attn_mask`, one tensor of heads x context x context", _TORCH),
            "softcap": Cell(
                False, "it has no argument for one", f"{_TORCH}; litgpt, model.py, leaves it for the same reason"
            ),
            "sinks": Cell(False, "it returns the sum of values only, and no share for anything else", _TORCH),
            "varlen": Cell(True, "a bias of context x context for each sequence", _TORCH),
            "dropout": Cell(True, "`dropout_p`", _TORCH),
            "unequal": Cell(True, "`value` may have a last axis of its own; on a CPU the scores are then kept", _TORCH),
        },
        ("cpu", "gpu", "tpu"),
        ("fp32", "bf16", "fp16"),
        (1, None),
        _TORCH,
    ),
    Kernel(
        "eager",
        "scores, softmax and sum written out",
        True,
        {
            "causal": Cell(True, "a bias of context x context", _WRITTEN_OUT),
            "prefix": Cell(True, "a bias of context x context for each sequence", _WRITTEN_OUT),
            "window": Cell(True, "a bias of context x context", _WRITTEN_OUT),
            "alibi": Cell(True, "added to the scores", _WRITTEN_OUT),
            "bias": Cell(True, "added to the scores", _WRITTEN_OUT),
            "softcap": Cell(True, "applied to the scores", _WRITTEN_OUT),
            "sinks": Cell(True, "one more column of scores, dropped after the softmax", _WRITTEN_OUT),
            "varlen": Cell(True, "a bias of context x context for each sequence", _WRITTEN_OUT),
            "dropout": Cell(True, "`F.dropout` of the shares", _WRITTEN_OUT),
            "unequal": Cell(True, "two products with sizes of their own", _WRITTEN_OUT),
        },
        ("cpu", "gpu", "tpu"),
        ("fp32", "bf16", "fp16"),
        (1, None),
        _WRITTEN_OUT,
    ),
    Kernel(
        "flex",
        "FlexAttention, compiled for the scores that it is given",
        True,
        {
            "causal": Cell(True, "`block_mask`: masked blocks are skipped", _FLEX),
            "prefix": Cell(True, "`block_mask` over the lengths of the prefixes", _FLEX),
            "window": Cell(True, "`block_mask`: blocks outside the window are skipped", _FLEX),
            "alibi": Cell(True, "`score_mod`, computed and never stored", _FLEX),
            "bias": Cell(True, "`score_mod`, computed and never stored", _FLEX),
            "softcap": Cell(True, "`score_mod`", _FLEX),
            "sinks": Cell(
                True, "`return_aux` with the log-sum-exp, and the sum of values times the share that is left", _FLEX
            ),
            "varlen": Cell(True, "`block_mask`: blocks of other documents are skipped", _FLEX),
            "dropout": Cell(False, "it has no argument for it", _FLEX),
            "unequal": Cell(True, "`value` may have a last axis of its own", _FLEX),
        },
        ("gpu",),
        ("fp32", "bf16", "fp16"),
        (16, None),
        f"{_FLEX}; on a CPU it has no backward pass, and its Triton kernels take no head below 16",
    ),
    Kernel(
        "flash",
        "the flash-attn package",
        True,
        {
            "causal": Cell(True, "`causal`: masked blocks are skipped", _FLASH),
            "prefix": Cell(False, "it masks the whole future or nothing", _FLASH),
            "window": Cell(True, "`window_size`: blocks outside the window are skipped", _FLASH),
            "alibi": Cell(True, "`alibi_slopes`, one in fp32 for each head", _FLASH),
            "bias": Cell(False, "`alibi_slopes` is the only bias that it adds", _FLASH),
            "softcap": Cell(True, "`softcap`", _FLASH),
            "sinks": Cell(False, "it has no argument for them, and no gradient for its log-sum-exp", _FLASH),
            "varlen": Cell(True, "`flash_attn_varlen_func` with `cu_seqlens_q` and `cu_seqlens_k`", _FLASH),
            "dropout": Cell(True, "`dropout_p`", _FLASH),
            "unequal": Cell(False, "all of `q`, `k` and `v` have one size; values would be padded with zeros", _FLASH),
        },
        ("gpu",),
        ("bf16", "fp16"),
        (1, 256),
        "flash-attn 2.8, README.md, section NVIDIA CUDA Support",
    ),
)


def kernel(name: str) -> Kernel:
    """The row of a kernel; `auto` is that of what it stands for."""
    return next(row for row in KERNELS if row.name == (AUTO if name == "auto" else name))


def chosen(written: KernelName, asked: Iterable[str]) -> Kernel:
    """The kernel that is used: `auto` is the first with code that can do all that is asked."""
    rows = able(asked) if written == "auto" else ()
    return next((row for row in rows if row.emitted), kernel(written))


def lacking(row: Kernel, asked: Iterable[str]) -> tuple[str, ...]:
    """The abilities among those asked for that a kernel does not have."""
    return tuple(ability for ability in asked if not row.abilities[ability].able)


def takes(row: Kernel, sizes: tuple[int, ...]) -> bool:
    """Whether a kernel takes heads of these sizes."""
    smallest, largest = row.head_dims
    return min(sizes) >= smallest and (largest is None or max(sizes) <= largest)


def able(asked: Iterable[str], *, sizes: tuple[int, ...] = (64,)) -> tuple[Kernel, ...]:
    """Kernels that have every ability asked for and take heads of these sizes; those with code come first."""
    wanted = tuple(asked)
    rows = [row for row in KERNELS if not lacking(row, wanted) and takes(row, sizes)]
    return tuple(sorted(rows, key=lambda row: not row.emitted))


def machine(device: str) -> str:
    """The sort of machine that a device of the hardware catalogue is: cpu, tpu or gpu."""
    return device if device == "cpu" else "tpu" if device.startswith("tpu") else "gpu"


def as_markdown() -> str:
    """The table for people."""
    head = ("kernel", *ABILITIES.values(), "runs on", "in", "values per head")
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in KERNELS:
        code = "" if row.emitted else " (no code yet)"
        cells = [f"{'yes' if cell.able else 'no'}: {cell.how}" for cell in (row.abilities[key] for key in ABILITIES)]
        limits = (", ".join(row.machines), ", ".join(row.precisions), _sizes(row))
        lines.append(f"| `{row.name}`: {row.title}{code} | {' | '.join((*cells, *limits))} |")
    sources = [f"- `{row.name}`: {'; '.join(_sources(row))}." for row in KERNELS]
    return "\n".join((*lines, "", "## Sources", "", *sources, ""))


def _sizes(row: Kernel) -> str:
    """The sizes of heads that it takes, for people."""
    smallest, largest = row.head_dims
    if largest is not None:
        return f"up to {largest}"
    return "any" if smallest == 1 else f"from {smallest}"


def _sources(row: Kernel) -> tuple[str, ...]:
    """Each once; one that begins another is in it."""
    texts = tuple(dict.fromkeys((*(cell.source for cell in row.abilities.values()), row.runs_on)))
    return tuple(text for text in texts if not any(other != text and other.startswith(text) for other in texts))
