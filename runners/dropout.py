"""Masks of dropout as a pure function of (seed, step, rows), like the order of the data.

A run that was killed draws the masks that it would have drawn, whatever its generators did before, and whether it
resumes from a checkpoint or begins anew.
"""

from __future__ import annotations

from hashlib import sha256

import torch


def seed_dropout(seed: int, step: int, draws: int) -> None:
    """Set torch's generators, those of every device, for the masks of one optimizer step of this process.

    Processes that compute the same activations have the same number `draws`, and so the same masks.
    """
    torch.manual_seed(_key(seed, step, draws))


def _key(seed: int, step: int, rank: int) -> int:
    """63 bits. torch's CPU generator keeps 32 of them, and two steps of a run that share a mask do no harm."""
    return int.from_bytes(sha256(f"{seed}/dropout/{step}/{rank}".encode()).digest()[:8]) >> 1
