"""What every way to pack documents has in common."""

from __future__ import annotations

from typing import ClassVar

from specc.spec.base import Node, identity


class PackingNode(Node):
    """Documents in sequences of one length."""

    fills_up: ClassVar[bool] = False
    """Whether a sequence may end in places where nothing is read and nothing is asked for."""

    cross_document: bool = identity("Whether tokens read over the end of a document within their sequence.", True)
