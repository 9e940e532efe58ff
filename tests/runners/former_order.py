"""The order of the sequences as it was computed one at a time, in Python's own numbers: what other code is held to."""

from __future__ import annotations

from hashlib import sha256

PERIOD = 10_000


def place(seed: int, index: int, shares: dict[str, int]) -> tuple[str, int]:
    """Stream of a sequence, and how many sequences that gave before."""
    if len(shares) == 1:
        return next(iter(shares)), index
    period, within = divmod(index, PERIOD)
    drawn = [drawn_from(permute(at, PERIOD, key(seed, "mixture", period)), shares) for at in range(within + 1)]
    return drawn[-1], period * shares[drawn[-1]] + drawn[:-1].count(drawn[-1])


def drawn_from(slot: int, shares: dict[str, int]) -> str:
    for name, share in shares.items():
        if slot < share:
            return name
        slot -= share
    raise AssertionError


def window(seed: int, name: str, position: int, windows: int) -> int:
    """Number of the window that is the stream's next after `position` others."""
    epoch, position = divmod(position, windows)
    return permute(position, windows, key(seed, name, epoch))


def permute(position: int, size: int, key: tuple[int, ...]) -> int:
    half = max((size - 1).bit_length() + 1, 2) // 2
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for round_key in key:
            left, right = right, left ^ (mix(right ^ round_key) & mask)
        position = left << half | right
        if position < size:
            return position


def mix(value: int) -> int:
    value &= 0xFFFFFFFFFFFFFFFF
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


def key(seed: int, name: str, number: int) -> tuple[int, ...]:
    digest = b"".join(sha256(f"{seed}/{name}/{number}/{half}".encode()).digest() for half in ("left", "right"))
    return tuple(int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(6))
