"""Rotary position embedding."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc.diagnostics import At, Finding
from specc.ir.component import Component, Dimension
from specc.kinds.rope_scaling import RopeScaling
from specc.kinds.site import Frame, Heads, PositionCount, Site
from specc.spec.base import Node, identity, section, values_of

_PATH = ("model", "position")


class Rope(Node):
    """Queries and keys turned by an angle that grows with position (Su et al. 2021, arXiv:2104.09864, section 3.2).

    Dimensions are paired in halves, as in Llama and GPT-NeoX.
    """

    adds_bias: ClassVar[bool] = False

    kind: Literal["rope"] = identity("The choice.")
    rope_theta: float = identity("Base of the wavelengths.", 10000.0, gt=1.0)
    original_context_length: PositionCount = identity(
        "Context that the base was set for, before any scaling; `auto` is the context length.", "auto"
    )
    scaling: RopeScaling | None = section("How angles are changed for a longer context; `null` changes nothing.", None)

    def check(self, frame: Frame, heads: Heads) -> Iterator[Finding]:
        """Heads of an odd size, and a context that the base was not set for."""
        if heads.head_dim % 2:
            headline = f"rotary positions need an even head size, and {heads.head_dim} is odd"
            yield Finding("SPC103", headline, (At((*_PATH, "kind")), At(("model", "attention", heads.written))))
        yield from self._check_context(frame)
        if self.scaling is not None:
            yield from self.scaling.check()

    def lower(self, site: Site) -> Component:
        """No weights; the tables are computed once per forward pass."""
        values = {"theta": self.rope_theta, "rotation": "model/position/rotation.py.j2"}
        if self.scaling is not None:
            original = site.context_length if self.original_context_length == "auto" else self.original_context_length
            values |= self.scaling.angles(self.rope_theta, site.heads.head_dim, original)
        return Component(
            kind="position/rope",
            template="model/position/rope.py.j2",
            values=values,
            dimensions=(Dimension("H", site.heads.head_dim, "values per head"),),
            fields=values_of(self),
        )

    def _check_context(self, frame: Frame) -> Iterator[Finding]:
        original, scaling, context = self.original_context_length, self.scaling, frame.context_length
        if original == "auto":
            if scaling is not None and scaling.needs_original:
                example = max(1, int(context / scaling.factor))
                headline = f"`{scaling.kind}` scaling needs the context that rotary was set for"
                help_text = f"add it, such as `original_context_length: {example}` ({context:,} / {scaling.factor:g})"
                if scaling.reach(example) is None:
                    # Nothing follows from the factor then: Llama 3.1 goes from 8,192 to 131,072 with one of 8.
                    help_text = "add `original_context_length`: the context that the model had before the scaling"
                yield Finding("SPC113", headline, (At((*_PATH, "scaling", "kind")),), help=help_text)
            return
        reach = original if scaling is None else scaling.reach(original)
        if reach is None or context <= reach:
            return
        times, factor = context / original, -(-context // original)
        headline = f"context {context:,} is {times:.3g} times the length that rotary was set for ({original:,})"
        places: tuple[At, ...] = (At(("model", "context_length")), At((*_PATH, "original_context_length")))
        if scaling is None:
            help_text = f"add `scaling: {{kind: yarn, factor: {factor}}}` to `position`"
        else:
            places = (*places, At((*_PATH, "scaling", "factor"), f"reaches {reach:,}"))
            help_text = f"use `factor: {factor}`"
        yield Finding("SPC104", headline, places, help=help_text, severity="warning")
