"""The causal decoder."""

from __future__ import annotations

from typing import Any, Literal

from specc import ir
from specc.ir.component import Component
from specc.kinds.head import WritingHead
from specc.kinds.head.lm import Lm
from specc.kinds.model.prediction import PredictionSpec
from specc.kinds.model.stack import Transformer
from specc.kinds.site import Site
from specc.spec.base import identity, section


class Decoder(Transformer):
    """Blocks of attention and feed-forward, each after a norm and added to the residual stream (GPT-2, section 2.3)."""

    kind: Literal["decoder"] = identity("The choice.")
    head: WritingHead = section("What is made of the last hidden state.", Lm(kind="lm"))
    prediction: PredictionSpec | None = section("What predicts tokens after the next one; `null` is nothing.", None)

    def after(self, site: Site, layers: tuple[ir.Layer, ...]) -> tuple[tuple[str, Component], ...]:
        """What every model has, and what predicts the tokens after the next one."""
        outputs = super().after(site, layers)
        if self.prediction is None:
            return outputs
        return (*outputs, *self.prediction.lower(site, layers[-1].parts, self.norm.lower(site.stream), outputs[-1][1]))

    def values(self) -> dict[str, Any]:
        """What the template must know of the tokens after the next one; nothing where there are none."""
        if self.prediction is None:
            return super().values()
        asked = {"depth": self.prediction.depth, "variant": self.prediction.variant}
        return {**super().values(), "prediction": asked}
