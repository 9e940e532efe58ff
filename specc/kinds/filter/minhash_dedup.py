"""Near-duplicate removal."""

from typing import Literal

from specc.spec.base import Node, identity


class MinhashDedup(Node):
    """Drop near-duplicates by MinHash and locality-sensitive hashing (Lee et al. 2022, arXiv:2107.06499)."""

    kind: Literal["minhash_dedup"] = identity("The choice.")
    ngram: int = identity("Words per shingle.", 5, ge=1)
    bands: int = identity("Bands of the signature.", 14, ge=1)
    rows: int = identity("Hashes per band.", 8, ge=1)
