"""What the kernel of an attention cannot do, the same for every attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from specc.diagnostics import At, Finding
from specc.ir.derivation import Derivation
from specc.kinds.attention.kernels import ABILITIES, AUTO, KERNELS, Kernel, KernelName, able, chosen, lacking
from specc.spec.no_code import no_code

_KERNEL = ("model", "attention", "kernel")
OUTSIDE = {"alibi": ("model", "position"), "bias": ("model", "position"), "dropout": ("model", "dropout", "attention")}
"""The keys that ask for what comes from outside the attention."""


def check_kernel(
    written: KernelName, asked: tuple[str, ...], sizes: tuple[int, ...], keys: Mapping[str, tuple[str, ...]]
) -> Iterator[Finding]:
    """Abilities that the kernel lacks, heads of more or less than it takes, and a kernel without code.

    `sizes` are values per head. `keys` says which key of the spec asks for an ability, and gives the largest head its
    `size` and the smallest its `least`.
    """
    row = chosen(written, asked)
    help_text = _instead(able(asked, sizes=sizes))
    at_kernel = () if written == "auto" else (At(_KERNEL),)
    for ability in lacking(row, asked):
        cell = row.abilities[ability]
        notes = (f"{cell.how} ({cell.source})",)
        headline = f"kernel `{row.name}` cannot {ABILITIES[ability]}"
        yield Finding("SPC110", headline, (At(keys.get(ability, _KERNEL)), *at_kernel), notes, help_text)
    smallest, largest = row.head_dims
    if largest is not None and max(sizes) > largest:
        headline = f"kernel `{row.name}` takes heads of up to {largest} values, and these have {max(sizes)}"
        yield Finding("SPC110", headline, (*at_kernel, At(keys["size"])), (row.runs_on,), help_text)
    if min(sizes) < smallest:
        headline = f"kernel `{row.name}` takes heads from {smallest} values on, and these have {min(sizes)}"
        at_size = At(keys.get("least", keys["size"]))
        yield Finding("SPC110", headline, (*at_kernel, at_size), (row.runs_on,), help_text)
    if not row.emitted:
        yield no_code(f"the attention kernel `{row.name}`", at_kernel, help_text)


def kernel_derivation(asked: tuple[str, ...]) -> Derivation:
    """The kernel that `auto` stands for, and what others before it in the table cannot do."""
    row = chosen("auto", asked)
    before = KERNELS[: KERNELS.index(row)]
    lacks = [f"`{other.name}` cannot {ABILITIES[missing]}" for other in before for missing in lacking(other, asked)]
    does = ", ".join(ABILITIES[ability] for ability in asked)
    reasons = (f"the first kernel of docs/attention_kernels.md that can do all that is asked: {does}", *lacks)
    return Derivation("model.attention.kernel", row.name, row.title, None, reasons=reasons)


def _instead(others: tuple[Kernel, ...]) -> str | None:
    """The first kernel that can, and what else can where that one is the slow one."""
    if not others:
        return None
    faster = [f"`{row.name}`" for row in others[1:] if row.machines == ("gpu",)]
    if others[0].name == AUTO or not faster:
        return f"use `kernel: {others[0].name}`"
    return f"use `kernel: {others[0].name}`; on a GPU {' and '.join(faster)} can too"
