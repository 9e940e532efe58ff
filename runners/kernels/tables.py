"""What follows from positions alone, once a forward pass.

The compiler sees that cosines and sines are cheap to write and puts them into every kernel that reads them: in each
block, forward and backward, the same angles are raised, turned and multiplied again for each head of each sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

TABLES = ("rotation", "local_rotation", "sinusoids")
"""Functions of a generated program that give tables without weights."""
_MARK = "computes_once"

_library = torch.library.Library("specc_tables", "DEF")
_library.define("kept(Tensor table) -> Tensor")


@torch.library.impl(_library, "kept", "CompositeExplicitAutograd")
def _kept(table: Tensor) -> Tensor:
    return table.clone()


@torch.library.register_fake("specc_tables::kept", lib=_library)
def _of_same_shape(table: Tensor) -> Tensor:
    return torch.empty_like(table)


def compute_once(program: dict[str, Any]) -> None:
    """Exchange the functions of a program (its globals) for some whose results the compiler writes to memory."""
    for name in TABLES:
        if name in program and not hasattr(program[name], _MARK):
            program[name] = _written(program[name])


def _written(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def written(*inputs: Any) -> Any:
        made = function(*inputs)
        return _keep(made) if isinstance(made, Tensor) else tuple(_keep(one) for one in made)

    setattr(written, _MARK, True)
    return written


def _keep(table: Tensor) -> Tensor:
    if not torch.compiler.is_compiling():
        return table
    kept: Tensor = torch.ops.specc_tables.kept(table)
    return kept
