"""What counts as a spike."""

from specc.spec.base import Node, identity
from specc.spec.quantities import Steps, quantity


class Watched(Node):
    """A loss far above those before it (OLMo Team 2024, arXiv:2501.00656, section 3.1), or one that is no number."""

    deviations: float = identity(
        "A spike is so many standard deviations above the mean of the losses before.", 7.0, gt=0.0
    )
    window: Steps = identity(
        "Losses that mean and deviation are of; with fewer, only what is no number counts.", quantity("100 steps")
    )
