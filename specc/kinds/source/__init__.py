"""Where documents come from."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from specc.kinds.source.files import Files
from specc.kinds.source.huggingface import Huggingface
from specc.kinds.source.shards import Shards


def _kind(value: Any) -> Any:
    """The kind of a source: files where none is written."""
    return value.get("kind", "files") if isinstance(value, dict) else getattr(value, "kind", None)


SOURCE = (Files, Huggingface, Shards)
Source = Annotated[
    Annotated[Files, Tag("files")] | Annotated[Huggingface, Tag("huggingface")] | Annotated[Shards, Tag("shards")],
    Discriminator(_kind),
]
