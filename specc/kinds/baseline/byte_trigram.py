"""Bytes from the two before."""

from typing import Literal

from specc.spec.base import Node, identity


class ByteTrigram(Node):
    """A byte trigram model with back-off, fitted on the training split (Witten and Bell 1991)."""

    kind: Literal["byte_trigram"] = identity("The choice.")
    data: str = identity("Data set whose training split it is fitted on and whose held-out split it is scored on.")
