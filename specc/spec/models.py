"""Models from elsewhere."""

from __future__ import annotations

from specc.spec.base import Node, identity


class ExternalModel(Node):
    """A model that no stage of this spec trains: a reference to compare with, or one that scores."""

    path: str = identity("Directory, or name on the hub.", min_length=1)
    revision: str | None = identity("Commit or tag; `null` is the newest, which may change.", None)
    tokenizer: str = identity("Its tokenizer, as this spec names one: `byte`, or its `path`.", min_length=1)
