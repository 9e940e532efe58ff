"""Checks of what a router picks from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from specc.diagnostics import At, Finding

_PATH = ("model", "ffn")


@dataclass(frozen=True)
class Routing:
    """How many experts and groups there are, and how many a token gets."""

    num_experts: int
    experts_per_token: int
    num_groups: int
    groups_per_token: int | None
    group_score: str

    @property
    def group_size(self) -> int:
        """Experts of one group."""
        return self.num_experts // self.num_groups


def check_experts(routing: Routing, lonely: str | None) -> Iterator[Finding]:
    """Experts or groups that do not suffice; `lonely` is a key of shared experts where there are none."""
    if routing.experts_per_token > routing.num_experts:
        yield _too_few(routing)
    elif routing.num_experts % routing.num_groups:
        yield _uneven(routing)
    else:
        yield from _check_groups(routing)
    if lonely is not None:
        headline = f"`{lonely}` says something of shared experts, and there are 0"
        at = (At((*_PATH, lonely)), At((*_PATH, "num_shared_experts")))
        yield Finding("SPC134", headline, at, help=f"leave `{lonely}` out, or add `num_shared_experts: 1`")


def sole_weight() -> Finding:
    """The one expert of a token whose weight is made to be 1: nothing tells the router what it should have chosen."""
    return Finding(
        "SPC136",
        "the weights of a token's experts are made to sum to 1, and it has 1 expert: its weight is always 1",
        (At((*_PATH, "normalize_weights")), At((*_PATH, "experts_per_token"))),
        ("the router then gets no gradient from the loss of the tokens",),
        "use `normalize_weights: false`",
        severity="warning",
    )


def _check_groups(routing: Routing) -> Iterator[Finding]:
    groups, chosen, size = routing.num_groups, routing.groups_per_token, routing.group_size
    if chosen is None:
        return
    of_groups = (At((*_PATH, "groups_per_token")), At((*_PATH, "num_groups")))
    if chosen > groups:
        headline = f"a token may use {chosen} groups of experts, and there {_are(groups)}"
        yield Finding("SPC132", headline, of_groups, help=f"use `groups_per_token: {groups}` or fewer")
    elif chosen * size < routing.experts_per_token:
        wanted, held = routing.experts_per_token, chosen * size
        yield Finding(
            "SPC108",
            f"top-{wanted} routing needs at least {wanted} experts, and {chosen} of {groups} groups hold {held}",
            (At((*_PATH, "experts_per_token")), *of_groups, At((*_PATH, "num_experts"))),
            help=f"use `groups_per_token: {-(-wanted // size)}`",
        )
    elif routing.group_score == "top2_sum" and size == 1 and chosen < groups:
        yield Finding(
            "SPC133",
            "the score of a group is the sum of its best 2 experts, and a group has 1",
            (At((*_PATH, "group_score")), At((*_PATH, "num_groups")), At((*_PATH, "num_experts"))),
            help="use `group_score: max`",
        )


def _too_few(routing: Routing) -> Finding:
    experts, wanted = routing.num_experts, routing.experts_per_token
    return Finding(
        "SPC108",
        f"top-{wanted} routing needs at least {wanted} experts, and there {_are(experts)}",
        (At((*_PATH, "experts_per_token")), At((*_PATH, "num_experts"))),
        help=f"use `experts_per_token: {experts}` or fewer",
    )


def _uneven(routing: Routing) -> Finding:
    experts, groups = routing.num_experts, routing.num_groups
    whole = [size for size in range(1, experts + 1) if experts % size == 0]
    near = min(whole, key=lambda size: abs(size - groups))
    leaves = f"{experts} / {groups} leaves {experts % groups}"
    return Finding(
        "SPC109",
        f"{experts} experts do not divide into {groups} groups",
        (At((*_PATH, "num_groups"), leaves), At((*_PATH, "num_experts"))),
        help=f"use `num_groups: {near}`",
    )


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"
