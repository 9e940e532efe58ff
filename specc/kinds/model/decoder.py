"""The causal decoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.ir.component import Component, Dimension
from specc.kinds.ffn.moe import Moe
from specc.kinds.head import WritingHead
from specc.kinds.head.lm import Lm
from specc.kinds.model.adapters import AdaptersSpec
from specc.kinds.model.prediction import PredictionSpec
from specc.kinds.model.sharing import SharingSpec
from specc.kinds.model.stack import Transformer
from specc.kinds.site import Site
from specc.spec.base import identity, section
from specc.spec.no_code import no_code


class Decoder(Transformer):
    """Blocks of attention and feed-forward, each after a norm and added to the residual stream (GPT-2, section 2.3)."""

    kind: Literal["decoder"] = identity("The choice.")
    head: WritingHead = section("What is made of the last hidden state.", Lm(kind="lm"))
    layer_sharing: SharingSpec | None = section("Blocks that are used for several layers; `null` is none.", None)
    adapters: AdaptersSpec | None = section("Bottlenecks after the parts of each block; `null` is none.", None)
    prediction: PredictionSpec | None = section("What predicts tokens after the next one; `null` is nothing.", None)

    def check(self, *, apart: bool = False, sees_prefix: bool = False) -> Iterator[Finding]:
        """What every model is asked, and then whether layers that share a block are alike."""
        found = tuple(super().check(apart=apart, sees_prefix=sees_prefix))
        yield from found
        if self.prediction is not None and getattr(self.position, "local_rope_theta", None) is not None:
            at = (At(("model", "prediction")), At(("model", "position", "local_rope_theta")))
            yield no_code("`model.prediction` over layers whose rotary bases differ", at)
        if self.layer_sharing is not None and not any(each.severity == "error" for each in found):
            yield from self._check_sharing(self.layer_sharing)

    def _check_sharing(self, sharing: SharingSpec) -> Iterator[Finding]:
        """Layers that share a block without being alike, and what counts on blocks that are used once."""
        uneven = tuple(sharing.check_count(self.num_layers))
        yield from uneven
        if uneven:
            return
        yield from sharing.check_sorts(self.attention.views(self.num_layers), ("model", "attention", "pattern"))
        plans = tuple(id(ffn) for ffn in self.ffn.plans(self.num_layers))
        yield from sharing.check_sorts(plans, ("model", "ffn", "dense", "layers"))
        if self.prediction is not None:
            yield from sharing.check_alone("repeats the last block", ("model", "prediction"), self.num_layers)
        if isinstance(self.ffn, Moe) and self.ffn.balancing.kind != "none":
            path = ("model", "ffn", "balancing")
            yield from sharing.check_alone("counts the tokens of a block once", path, self.num_layers)

    @property
    def _sharing(self) -> SharingSpec | None:
        """How layers share blocks; None also where every layer has its own."""
        sharing = self.layer_sharing
        return None if sharing is None or sharing.distinct == self.num_layers else sharing

    def assembled(
        self, site: Site, depths: tuple[Dimension, ...], own: ir.Stack, encoder: ir.Stack | None = None
    ) -> ir.Model:
        """The number of blocks beside that of layers, where they share them."""
        if self._sharing is not None:
            depths = (*depths, Dimension("P", self._sharing.distinct, "blocks with weights of their own"))
        return super().assembled(site, depths, own, encoder)

    def layers(self, site: Site, across: Component | None = None) -> tuple[ir.Layer, ...]:
        """Blocks with their adapters, those that layers share once."""
        layers = super().layers(site, across)
        if self.adapters is not None:
            layers = tuple(replace(each, parts=self.adapters.followed(each.parts, site)) for each in layers)
        return layers if self._sharing is None else self._sharing.shared(layers)

    def after(self, site: Site, layers: tuple[ir.Layer, ...]) -> tuple[tuple[str, Component], ...]:
        """What every model has, and what predicts the tokens after the next one."""
        outputs = super().after(site, layers)
        if self.prediction is None:
            return outputs
        return (*outputs, *self.prediction.lower(site, layers[-1].parts, self.norm.lower(site.stream), outputs[-1][1]))

    def values(self) -> dict[str, Any]:
        """What the template must know of shared blocks and of the tokens after the next one, where there are any."""
        values = super().values()
        if self._sharing is not None:
            values["sharing"] = self._sharing.index
        if self.prediction is not None:
            values["prediction"] = {"depth": self.prediction.depth, "variant": self.prediction.variant}
        return values
