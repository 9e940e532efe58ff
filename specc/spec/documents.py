"""Documents that share a sequence: whether the model of a spec lets a token read what stands before its own."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.spec.no_code import no_code
from specc.spec.objectives import sees_prefix
from specc.spec.spec import Spec


def keeps_apart(spec: Spec) -> bool:
    """Whether a stage asks that no token reads over the end of its document.

    The mask is part of the model, which is one for all stages: what stages build on it reads with the same mask.
    """
    return any(not reads for reads in _packings(spec).values())


def check_documents(spec: Spec) -> Iterator[Finding]:
    """Stages of one model that do not agree."""
    yield from _check_prefix(spec)
    if keeps_apart(spec) and spec.model.kind != "decoder":
        apart = next(name for name, reads in _packings(spec).items() if not reads)
        yield no_code(
            f"documents that are kept apart in a model of kind `{spec.model.kind}`",
            (At(("stages", apart, "packing", "cross_document")), At(("model", "kind"))),
            "use `cross_document: true`",
        )
    packings = _packings(spec)
    keeping, reading = ([name for name, reads in packings.items() if reads is value] for value in (False, True))
    if not keeping or not reading:
        return
    yield Finding(
        "SPC150",
        f"stage `{keeping[0]}` keeps documents apart, and stage `{reading[0]}` does not",
        tuple(At(("stages", name, "packing", "cross_document")) for name in (keeping[0], reading[0])),
        ("the mask is part of the model, and an experiment has one model for all its stages",),
        help="use the same `cross_document` in both",
    )


def _check_prefix(spec: Spec) -> Iterator[Finding]:
    """A prefix of a sequence, which would belong to several documents."""
    if not keeps_apart(spec) or not sees_prefix(spec):
        return
    apart = next(name for name, reads in _packings(spec).items() if not reads)
    yield no_code(
        "a prefix that is seen as a whole where documents in one sequence are kept apart",
        (At(("stages", apart, "packing", "cross_document")), At(("stages", apart, "objective"))),
        "use `cross_document: true`, or `objective: {kind: causal}`",
    )


def _packings(spec: Spec) -> dict[str, bool]:
    """Stages that pack documents, and whether tokens of theirs read over the end of one."""
    found = {name: getattr(stage, "packing", None) for name, stage in spec.stages.items()}
    return {name: packing.cross_document for name, packing in found.items() if packing is not None}
