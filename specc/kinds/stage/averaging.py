"""An average of the weights over training."""

from __future__ import annotations

from specc.spec.base import Node, identity
from specc.spec.quantities import Steps, quantity


class EmaSpec(Node):
    """A moving average of the weights in fp32, which is validated and saved beside them (Polyak and Juditsky 1992,
    doi:10.1137/0330046; Morales-Brotons et al. 2024, arXiv:2411.18704).

    After n updates a weight of k updates ago counts decay^k (1 - decay) / (1 - decay^n): the first weights, which were
    drawn, never count.
    """

    decay: float = identity("What is left of the average at an update.", 0.999, gt=0.0, lt=1.0)
    every: Steps = identity("Distance between updates.", quantity("1 step"))
