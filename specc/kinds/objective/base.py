"""What every objective answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from specc import ir
from specc.diagnostics import Finding
from specc.diagnostics.diagnostic import Path
from specc.ir.component import Component
from specc.kinds.objective.place import NOTHING, Needs, Place
from specc.spec.base import Node


class ObjectiveNode(Node):
    """What is predicted from what."""

    models: ClassVar[tuple[str, ...]]
    """Kinds of models that it trains."""
    predicts_several: ClassVar[bool] = False
    """Whether it asks for more than one token of a position."""
    takes_rows: ClassVar[bool] = False
    """Whether it takes rows of any length, and such that end before they are full."""

    kind: str

    def check(self, at: Path, place: Place) -> Iterator[Finding]:
        """Values that contradict each other or the context. `at` is the path of the objective."""
        del at, place
        return iter(())

    def needs(self, place: Place) -> Needs:
        """The special tokens that it asks for."""
        del place
        return NOTHING

    def sees_prefix(self, place: Place) -> bool:
        """Whether a decoder must be able to read the beginning of a sequence as a whole."""
        del place
        return False

    def data_tokens(self, length: int) -> int:
        """Tokens of the data set behind a sequence of `length`."""
        return length

    @abstractmethod
    def lower(self, place: Place, tokenizer: ir.Tokenizer) -> Component:
        """What a generated program hands to its runner."""
