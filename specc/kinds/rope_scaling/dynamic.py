"""Dynamic NTK scaling."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from specc.diagnostics import Finding
from specc.spec.base import Node, identity


class Dynamic(Node):
    """A base that grows with the sequence once it is longer than the original context (Peng et al. 2023, YaRN,
    arXiv:2309.00071, section 3.3). Cached keys were turned by an earlier base, so decoding is not the full pass.
    """

    lowered: ClassVar[bool] = False
    needs_original: ClassVar[bool] = True

    kind: Literal["dynamic"] = identity("The choice.")
    factor: float = identity("How strongly the base grows.", gt=1.0, le=1e6)

    def check(self) -> Iterator[Finding]:
        """Nothing to get wrong."""
        yield from ()

    def reach(self, original: int) -> int | None:
        """Nothing: it follows the sequence."""
        del original
        return None

    def angles(self, theta: float, head_dim: int, original: int) -> dict[str, Any]:
        """No holes: no code is emitted."""
        del theta, head_dim, original
        return {}
