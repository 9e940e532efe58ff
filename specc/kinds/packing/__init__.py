"""How documents share sequences."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from specc.kinds.packing.best_fit import BestFit
from specc.kinds.packing.concatenate import Concatenate


def _kind(value: Any) -> Any:
    """The kind of a packing: documents one after the other where none is written."""
    return value.get("kind", "concatenate") if isinstance(value, dict) else getattr(value, "kind", None)


PACKING = (Concatenate, BestFit)
Packing = Annotated[
    Annotated[Concatenate, Tag("concatenate")] | Annotated[BestFit, Tag("best_fit")], Discriminator(_kind)
]
