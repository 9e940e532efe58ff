"""A mixture of experts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from specc.diagnostics import At, Finding
from specc.ir.component import Component, Dimension, Saved, Weight
from specc.kinds.linear import linear
from specc.kinds.site import Site
from specc.spec.base import Node, identity, values_of

_PATH = ("model", "ffn")


class Moe(Node):
    """SwiGLU experts, of which a router picks a few for each token (Jiang et al. 2024, Mixtral, arXiv:2401.04088).

    Shared experts read every token (Dai et al. 2024, DeepSeekMoE, arXiv:2401.06066); groups limit over how many devices
    the experts of a token may be spread (DeepSeek-AI 2024, DeepSeek-V2, arXiv:2405.04434, section 2.2.2).
    """

    lowered: ClassVar[bool] = False

    kind: Literal["moe"] = identity("The choice.")
    num_experts: int = identity("Experts that the router picks from.", ge=1, le=2**16)
    experts_per_token: int = identity("Experts that each token is sent to.", ge=1, le=2**16)
    intermediate_size: int = identity("Inner width of one expert.", ge=1, le=2**24)
    num_shared_experts: int = identity("Experts of the same width that read every token.", 0, ge=0, le=2**16)
    num_groups: int = identity(
        "Equal groups of experts that the router picks first; 1 is no grouping.", 1, ge=1, le=2**16
    )
    capacity_factor: float | None = identity(
        "Tokens that an expert takes, as a multiple of its even share; `null` drops no token.", None, gt=0.0
    )

    def check(self) -> Iterator[Finding]:
        """Experts that do not suffice for a token, or do not divide into groups."""
        experts, wanted, groups = self.num_experts, self.experts_per_token, self.num_groups
        if wanted > experts:
            yield Finding(
                "SPC108",
                f"top-{wanted} routing needs at least {wanted} experts, and there {_are(experts)}",
                (At((*_PATH, "experts_per_token")), At((*_PATH, "num_experts"))),
                help=f"use `experts_per_token: {experts}` or fewer",
            )
        if experts % groups:
            whole = [size for size in range(1, experts + 1) if experts % size == 0]
            near = min(whole, key=lambda size: abs(size - groups))
            yield Finding(
                "SPC109",
                f"{experts} experts do not divide into {groups} groups",
                (At((*_PATH, "num_groups"), f"{experts} / {groups} leaves {experts % groups}"),
                 At((*_PATH, "num_experts"))),
                help=f"use `num_groups: {near}`",
            )  # fmt: skip

    def plans(self, num_layers: int) -> tuple[Self, ...]:
        """The same in every layer."""
        return (self,) * num_layers

    def lower(self, site: Site) -> Component:
        """Experts stacked in three tensors [E, I, D]; a token uses those it is sent to, and the shared ones.

        Kept for the backward pass: the router's scores in fp32, and for each expert that a token goes to its copy of
        the token and the four inner values of SwiGLU.
        """
        inner, experts, shared = self.intermediate_size, self.num_experts, self._shared()
        weights = self._weights(site)
        one_expert = 3 * inner * site.hidden_size
        idle = (experts - self.experts_per_token) * one_expert
        dimensions = (site.width, Dimension("E", experts, "experts"), Dimension("I", inner, "inner width of an expert"))
        return Component(
            kind="ffn/moe",
            dimensions=(*dimensions, Dimension(*shared, "inner width of the shared experts")),
            weights=weights,
            matmul_flops=2 * (sum(weight.count for weight in weights) - idle),
            inactive_parameters=idle,
            saved=(
                Saved("feed-forward input", site.hidden_size),
                Saved("router scores", experts, 4),
                Saved("tokens at their experts", self.experts_per_token * site.hidden_size),
                Saved("feed-forward", 4 * (self.experts_per_token * inner + shared[1]), split=True),
            ),
            fields=values_of(self),
        )

    def _shared(self) -> tuple[str, int]:
        """Inner width of all shared experts together, as a letter and a number."""
        return "U", self.num_shared_experts * self.intermediate_size

    def _weights(self, site: Site) -> tuple[Weight, ...]:
        width, inner, experts = ("D", site.hidden_size), self.intermediate_size, self.num_experts
        shared = self._shared()
        stacks = (("gate_proj", ("E", "I", "D"), 1), ("up_proj", ("E", "I", "D"), 1), ("down_proj", ("E", "D", "I"), 2))
        sizes = {"E": experts, "I": inner, "D": site.hidden_size}
        routed = tuple(
            Weight(
                f"experts.{name}",
                shape,
                tuple(sizes[letter] for letter in shape),
                site.init.residual if name == "down_proj" else site.init.matrix,
                split,
            )
            for name, shape, split in stacks
        )
        router = linear("router", ("E", experts), width, site.init.matrix, 0, bias=False)
        beside = (
            *linear("shared.gate_proj", shared, width, site.init.matrix, 0, bias=False),
            *linear("shared.up_proj", shared, width, site.init.matrix, 0, bias=False),
            *linear("shared.down_proj", width, shared, site.init.residual, 1, bias=False),
        )
        return (*router, *routed, *(beside if self.num_shared_experts else ()))


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"
