"""A data set of the Hugging Face hub."""

from __future__ import annotations

from typing import ClassVar, Literal

from specc.kinds.source.source import SourceNode, share
from specc.spec.base import execution, identity


class Huggingface(SourceNode):
    """A split of a data set on the Hugging Face hub (Lhoest et al. 2021, datasets, arXiv:2109.02846)."""

    lowered: ClassVar[bool] = False

    kind: Literal["huggingface"] = identity("The choice.")
    dataset: str = identity("Name on the hub, such as `HuggingFaceFW/fineweb-edu`.", min_length=1)
    config: str | None = identity("Configuration of the data set; `null` where it has only one.", None)
    split: str = identity("Split that is read.", "train", min_length=1)
    revision: str | None = identity("Commit or tag; `null` is the newest, which may change.", None)
    streaming: bool = execution("Whether rows are fetched as they are read, and not the whole data set before.", False)
    text_field: str = identity("Column of the text.", "text")
    weight: float | None = share()

    def places(self) -> tuple[str, ...]:
        """The split."""
        return (f"{self.dataset}/{self.config or ''}:{self.split}",)
