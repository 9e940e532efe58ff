"""What the kernel of an attention cannot do, the same for every attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from specc.diagnostics import At, Finding
from specc.kinds.attention.kernels import ABILITIES, AUTO, Kernel, KernelName, able, chosen, lacking
from specc.spec.no_code import no_code

_KERNEL = ("model", "attention", "kernel")


def check_kernel(
    written: KernelName, asked: tuple[str, ...], head_dim: int, keys: Mapping[str, tuple[str, ...]]
) -> Iterator[Finding]:
    """Abilities that the kernel lacks, heads of more than it takes, and a kernel without code.

    `head_dim` is the largest head. `keys` says which key of the spec asks for an ability, and gives a head its `size`.
    """
    row = chosen(written, asked)
    help_text = _instead(able(asked, head_dim=head_dim))
    at_kernel = () if written == "auto" else (At(_KERNEL),)
    for ability in lacking(row, asked):
        cell = row.abilities[ability]
        notes = (f"{cell.how} ({cell.source})",)
        headline = f"kernel `{row.name}` cannot {ABILITIES[ability]}"
        yield Finding("SPC110", headline, (At(keys[ability]), *at_kernel), notes, help_text)
    if row.max_head_dim is not None and head_dim > row.max_head_dim:
        headline = f"kernel `{row.name}` takes heads of up to {row.max_head_dim} values, and these have {head_dim}"
        yield Finding("SPC110", headline, (*at_kernel, At(keys["size"])), (row.runs_on,), help_text)
    if not row.emitted:
        yield no_code(f"the attention kernel `{row.name}`", at_kernel, help_text)


def _instead(others: tuple[Kernel, ...]) -> str | None:
    """The first kernel that can, and what else can where that one is the slow one."""
    if not others:
        return None
    without = [f"`{row.name}`" for row in others[1:] if not row.emitted]
    if others[0].name == AUTO or not without:
        return f"use `kernel: {others[0].name}`"
    have = "have" if len(without) > 1 else "has"
    return f"use `kernel: {others[0].name}`; {' and '.join(without)} can too, and {have} no code yet"
