"""Weights from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.mention import LANGUAGE_MODEL, Mention
from specc.spec.base import Node, annotation, files, identity

_DIGEST = re.compile("[0-9a-f]{64}")


class Import(Node):
    """Weights that were trained elsewhere, as `specc import` wrote them (Wolf et al. 2020, arXiv:1910.03771).

    Other stages start from it, score it and export it as they would a stage that trained. The weights themselves are
    what it is: where they lie is no part of its identity, their hash is.
    """

    lowered: ClassVar[bool] = True
    leaves: ClassVar[str | None] = LANGUAGE_MODEL
    families: ClassVar[tuple[str, ...]] = ("decoder", "encoder", "encoder_decoder")

    kind: Literal["import"] = identity("The choice.")
    path: str = files("Folder of the weights that `specc import` wrote, seen from the spec.", min_length=1)
    sha256: str = identity("SHA-256 of its `weights.safetensors`, in hexadecimal digits.")
    family: str | None = annotation("Its `model_type` in transformers, under which it is exported again.", None)

    def mentions(self) -> tuple[Mention, ...]:
        """Nothing."""
        return ()

    def reads(self, context: StageContext) -> tuple[str, ...]:
        """No data."""
        del context
        return ()

    def check(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """A hash that is none."""
        del context_length, datasets
        if _DIGEST.fullmatch(self.sha256) is None:
            headline = f"a SHA-256 has 64 hexadecimal digits, and this text is of {len(self.sha256)} characters"
            note = "no file has this hash, so the stage could never run"
            help_text = "`specc import` writes it, and `sha256sum weights.safetensors` says it"
            yield Finding("SPC911", headline, (At(("stages", name, "sha256")),), (note,), help=help_text)

    def lower(self, context: StageContext) -> ir.Import:
        """Where the weights lie, and what they are."""
        del context
        return ir.Import(self.path, self.sha256, self.family)
