"""No head."""

from __future__ import annotations

from typing import Literal

from specc.ir.component import Component
from specc.kinds.head.outputs import Outputs
from specc.kinds.site import Site
from specc.spec.base import Node, identity, values_of


class NoHead(Node):
    """The last hidden states themselves (Devlin et al. 2019, BERT, arXiv:1810.04805, section 5.3)."""

    kind: Literal["none"] = identity("The choice.")

    def lower(self, site: Site, *, tied: bool) -> Outputs:
        """No weights."""
        del site, tied
        return (("hidden", Component("head/none", "model/head/none.py.j2", fields=values_of(self))),)
