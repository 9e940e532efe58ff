"""Holds what ranks saw against plain PyTorch in one process."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runners.init import initialise
from tests import compiling
from tests.engines.ranks import on_ranks
from tests.engines.reference import LOSS_TOLERANCE, NORM_TOLERANCE, SMALL, Curve, recipe
from tests.engines.training import Case, Place, Seen, train


def trained(plan: Path, cases: list[Case]) -> list[list[Seen]]:
    """For each case, what each rank saw; all cases are of as many ranks."""
    by_rank = on_ranks(cases[0].layout.processes, train, str(plan), cases)
    return [list(seen) for seen in zip(*by_rank, strict=True)]


def assert_same_curve(
    seen: list[Seen], plain: Curve, loss: float = LOSS_TOLERANCE, norm: float = NORM_TOLERANCE
) -> None:
    """The same losses and norms of gradients as in one process, on every rank, and the same validation loss."""
    first = seen[0]
    steps = len(first.losses)
    assert furthest(first.losses, plain.losses[:steps]) <= loss
    assert furthest(first.norms, plain.norms[:steps]) <= norm
    if steps == len(plain.losses):
        assert abs(first.validation - plain.validation) <= loss
    for other in seen[1:]:
        assert (other.losses, other.norms, other.validation) == (first.losses, first.norms, first.validation)


def furthest(some: list[float], others: list[float]) -> float:
    """Largest difference."""
    return max(abs(one - other) for one, other in zip(some, others, strict=True))


def assert_replicas_agree(seen: list[Seen]) -> None:
    """What several ranks hold is the same bits on all of them, and all ranks together hold the model."""
    ended: dict[Place, str] = {}
    for rank in seen:
        for place, digest in rank.ended.items():
            assert ended.setdefault(place, digest) == digest, place


def assert_drawn_alike(plan: Path, seen: list[Seen]) -> None:
    """The first weights are those of one process, bit for bit, wherever they are held."""
    made = recipe(plan)
    model = made.model()
    initialise(model, made.initialisation, made.settings.seed)
    weights = dict(model.named_parameters())
    held = dict.fromkeys(weights, 0)
    places = {place: digest for rank in seen for place, digest in rank.began.items()}
    for (name, offset, size), digest in places.items():
        whole = weights[name].detach()
        part = whole[tuple(slice(first, first + length) for first, length in zip(offset, size, strict=True))]
        assert hashlib.sha256(part.contiguous().numpy().tobytes()).hexdigest() == digest, (name, offset)
        held[name] += part.numel()
    assert held == {name: weight.numel() for name, weight in weights.items()}


def splits(*sets: str) -> tuple[tuple[str, int], ...]:
    """The axis of each weight that tensor ranks divide, as the compiler says."""
    weights = compiling.planned(*SMALL, *sets).experiment.model.weights()
    return tuple((weight.name, weight.split) for weight in weights if weight.split is not None)
