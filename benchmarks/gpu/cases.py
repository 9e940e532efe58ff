"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One line of the result."""

    system: str
    """specc or transformers."""
    work: str
    """training or decoding."""
    position: str
    """rope or alibi."""
    kernel: str
    compiled: bool = False
    batch_size: int = 4

    @property
    def title(self) -> str:
        """Its name."""
        how = "compiled" if self.compiled else "eager"
        size = "1 B" if self.work == "training" else f"7 B, batch {self.batch_size}"
        return f"{self.system}, {size}, {self.position}, {self.kernel}, {how}"


_KERNELS = ("sdpa", "flex", "flash", "eager")
TRAINING = (
    *(
        Case("specc", "training", position, kernel, compiled)
        for position in ("rope", "alibi")
        for kernel in _KERNELS
        for compiled in (False, True)
        if not (kernel == "flex" and not compiled)  # uncompiled it holds all scores
    ),
    *(
        Case("transformers", "training", "rope", kernel, compiled)
        for kernel in ("sdpa", "flash")
        for compiled in (False, True)
    ),
)
DECODING = (
    *(
        Case("specc", "decoding", position, "sdpa", batch_size=size)
        for position in ("rope", "alibi")
        for size in (1, 8)
    ),
    *(Case("transformers", "decoding", "rope", "sdpa", batch_size=size) for size in (1, 8)),
)
