"""Checkpoints that are whole or not there: written beside their place, synced, renamed; verified by hash when read.

    checkpoints/step-00000400/
      weights.safetensors      the model, under the plain names of its weights; of several writers
                               weights-00001-of-00004.safetensors and so on
      optimizer.safetensors    the states of the optimizer, as `layers.0.norm.weight/exp_avg`; none of imported weights
      checkpoint.json          step, tokens, seconds, scalars; of each tensor its type, shape and where its pieces lie;
                               of each file its size and SHA-256; in its first line the SHA-256 of all the other lines

Nothing in it is a pickle. A tensor is a set of rectangles and of ranges of the flattened tensor, wherever they were
written, so that a run goes on with another number of ranks, another layout or another engine. A damaged checkpoint is
never used: the one before it is.
"""

from runners.checkpoint.adopting import adopt
from runners.checkpoint.disk import Schedule
from runners.checkpoint.folders import (
    FOLDER,
    Damaged,
    Keep,
    folder_of,
    forget_after,
    latest,
    remove_unfinished,
    required,
    set_aside,
)
from runners.checkpoint.index import StoredFile
from runners.checkpoint.peers import Peers, join_peers
from runners.checkpoint.piece import MODEL, OPTIMIZER, Piece, whole_piece
from runners.checkpoint.reading import Checkpoint
from runners.checkpoint.saver import Saver
from runners.checkpoint.writing import WEIGHTS, State, save

__all__ = [
    "FOLDER",
    "MODEL",
    "OPTIMIZER",
    "WEIGHTS",
    "Checkpoint",
    "Damaged",
    "Keep",
    "Peers",
    "Piece",
    "Saver",
    "Schedule",
    "State",
    "StoredFile",
    "adopt",
    "folder_of",
    "forget_after",
    "join_peers",
    "latest",
    "remove_unfinished",
    "required",
    "save",
    "set_aside",
    "whole_piece",
]
