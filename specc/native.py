"""A model of ours as one that transformers has a class for: its config, and which tensor is which."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from specc import huggingface


@dataclass(frozen=True)
class Description:
    """What transformers is told of a model."""

    config: Mapping[str, Any]
    moves: tuple[Mapping[str, Any], ...]
    """In JSON types, as runners take them."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Code that is to run, by name; none for a class that transformers has."""


class NoClassError(Exception):
    """No class of transformers computes the model; the message says why, where one family was asked for."""


def describe(
    model: Mapping[str, Any], defaulted: Collection[tuple[str | int, ...]], rows: int, family: str | None
) -> Description:
    """Describe a `model:` section whose defaults are explicit and whose token table has `rows` rows.

    `defaulted` are the paths of its keys that say their default.

    `family` is a `model_type`; without one it is the first family that can say the model. NoClassError when none can.
    """
    section = {**model, "vocab_size": rows, "pad_vocab_size_multiple": 1}
    known = [one.model_type for one in huggingface.FAMILIES]
    if family is not None and family not in known:
        raise NoClassError(f"there is no family `{family}`; there are {', '.join(sorted(known))}")
    names = [family] if family else known
    reasons = []
    for name in names:
        try:
            config = huggingface.write(section, name, defaulted)
        except (huggingface.Unwritable, huggingface.Unspoken) as reason:
            reasons.append(str(reason))
            continue
        return Description(config, tuple(huggingface.as_data(huggingface.read(config).moves)))
    if len(reasons) == 1:
        raise NoClassError(reasons[0])
    raise NoClassError(f"none of {len(reasons)} families can say this model (name one to hear why it cannot)")
