"""Export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import Finding
from specc.ir.modeling import unwritten
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.mention import Mention
from specc.spec.base import Node, identity, values_of
from specc.spec.defaults import defaulted


class Export(Node):
    """A model in another tool's format (Wolf et al. 2020, transformers, arXiv:1910.03771)."""

    lowered: ClassVar[bool] = True
    leaves: ClassVar[str | None] = None
    families: ClassVar[tuple[str, ...]] = ("decoder", "encoder", "encoder_decoder")

    kind: Literal["export"] = identity("The choice.")
    base: str = identity("Stage whose model is exported.", alias="from")
    format: Literal["huggingface"] = identity("Format of the files that are written.")
    module: Literal["auto", "native", "generated"] = identity(
        "Whose code computes it there: a class of transformers (`native`), or modeling code that is written beside the "
        "weights (`generated`); `auto` is the first where one computes the model, or `family` is written.",
        "auto",
    )
    family: str | None = identity(
        "The `model_type` it is written as; `null` is the one it was imported as, else the first that fits.", None
    )
    weights: Literal["last", "ema"] = identity("The weights of the last step, or the average that `ema` keeps.", "last")

    def mentions(self) -> tuple[Mention, ...]:
        """The stage whose model is exported."""
        return (Mention(("from",), self.base, "stage"),)

    def reads(self, context: StageContext) -> tuple[str, ...]:
        """No data."""
        del context
        return ()

    def check(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """Nothing that references do not show."""
        del name, context_length, datasets
        yield from ()

    def lower(self, context: StageContext) -> ir.Export:
        """The model in the other tool's words, or why it has none for it."""
        return replace(self._described(context), averaged=self.weights == "ema")

    def _described(self, context: StageContext) -> ir.Export:
        # Loaded here: most specs export nothing, and `specc check` should not wait for the table of families.
        from specc.native import NoClassError, describe

        no_code = unwritten(context.model)
        if self.module == "generated":
            return ir.Export(self.format, "generated", refusal=no_code)

        written, family = context.architecture, self.family or context.origins.get(self.base)
        assert written is not None, "a stage is lowered with the model that it is of"
        try:
            found = describe(values_of(written, list), set(defaulted(written)), context.model.vocab_size, family)
        except NoClassError as reason:
            if self.module == "auto" and self.family is None and no_code is None:
                return ir.Export(self.format, "generated")
            both = self.module == "auto" and self.family is None
            return ir.Export(self.format, "native", refusal=f"{reason}; and {no_code}" if both else str(reason))
        return ir.Export(self.format, "native", found.config, found.moves)
