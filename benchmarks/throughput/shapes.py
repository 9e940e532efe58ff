"""The models that every system trains: the same sizes, batch and optimizer for each."""

from __future__ import annotations

from dataclasses import dataclass

VOCABULARY = 512
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Shape:
    """A decoder in the manner of GPT-2 (learned positions, LayerNorm, GELU, biases) or of Llama."""

    name: str
    style: str
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    context_length: int
    batch_size: int
    """Sequences a step."""

    @property
    def tokens(self) -> int:
        """Tokens a step."""
        return self.batch_size * self.context_length


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("gpt2_10m", "gpt2", 384, 6, 6, 1536, 256, 8),
        Shape("llama_10m", "llama", 384, 6, 6, 1024, 256, 8),
        Shape("gpt2_100m", "gpt2", 768, 14, 12, 3072, 256, 4),
        Shape("llama_100m", "llama", 768, 14, 12, 2048, 256, 4),
    )
}
