"""Short, stable names of variants: what overrides change, and nothing else."""

from __future__ import annotations

from hashlib import sha256

_LONGEST = 60
_KEPT = 47


def variant(overrides: tuple[str, ...], paths: tuple[str, ...]) -> str:
    """Such as `rope`, `learning_rate=1e-3` or `~validation`; the order of overrides plays no part.

    A kind is named by itself, anything else by the shortest end of its path that no other of the spec's `paths` has.
    """
    words = []
    for override in sorted(overrides):
        if override.startswith("~"):
            # What is deleted may be a section, which no path ends at.
            words.append(f"~{_shortest_end(override[1:].split('.'), _sections(paths))}")
            continue
        path, _, text = override.partition("=")
        parts = path.split(".")
        if parts[-1] == "kind" and len(parts) > 1:
            parents = {other.rpartition(".")[0] for other in paths if other.endswith(".kind")}
            end = _shortest_end(parts[:-1], tuple(parents))
            words.append(text if "." not in end else f"{end}={text}")
        else:
            words.append(f"{_shortest_end(parts, paths)}={text}")
    name = "+".join("".join(c if c.isalnum() or c in "~=._+-" else "_" for c in word) for word in words)
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_KEPT]}-{sha256(name.encode()).hexdigest()[:12]}"


def _sections(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Paths and all that lies above them."""
    parts = [path.split(".") for path in paths]
    return tuple({".".join(path[:length]) for path in parts for length in range(1, len(path) + 1)})


def _shortest_end(parts: list[str], paths: tuple[str, ...]) -> str:
    whole = ".".join(parts)
    for start in range(len(parts) - 1, 0, -1):
        end = ".".join(parts[start:])
        if all(path == whole or not path.endswith(f".{end}") for path in paths):
            return end
    return whole
