"""`specc import`: a checkpoint of transformers as a spec, in words that anybody can go on from."""

from specc.importing.checkpoint import Checkpoint, read_checkpoint
from specc.importing.composing import Weights, compose

__all__ = ["Checkpoint", "Weights", "compose", "read_checkpoint"]
