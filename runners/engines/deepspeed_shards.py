"""Which flat range of which weight a rank of DeepSpeed keeps the master copy of, and how that is written and read.

ZeRO flattens the weights of a group into one tensor, cuts that among the data-parallel ranks, and gives each rank's
part to the optimizer as its only parameter (Rajbhandari et al. 2020, arXiv:1910.02054, section 5): at stages 1 and 2 a
range of the whole group, at stage 3 the same share of each weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runners.checkpoint import MODEL, OPTIMIZER, Checkpoint, Piece
from runners.checkpoint.geometry import Sizes, boxes
from runners.engines.deepspeed_package import DeepSpeedZeroOptimizer_Stage3
from runners.engines.deepspeed_swapping import at_hand
from runners.errors import RunError

Read = Callable[[str, int | Sizes, int | Sizes], Tensor]
"""Name, first index and size of a part of a weight (a flat range, or a rectangle) to its values, fp32."""


@dataclass(frozen=True)
class Part:
    """What a tensor-parallel rank has of a weight: block `index` of its `axis`, or all of it."""

    whole: Sizes
    local: Sizes
    axis: int | None
    """None where every rank has all of it."""
    index: int
    """Number of the tensor-parallel rank."""

    def places(self, start: int, size: int) -> Iterator[tuple[int | Sizes, int | Sizes]]:
        """Where elements `start` .. `start + size` of the flattened part lie in the whole: first index, and size.

        Blocks of rows are one flat range of the whole; of blocks of columns a range is a few rectangles.
        """
        if self.axis in (None, 0):
            yield start + (0 if self.axis is None else self.index * prod(self.local)), size
            return
        shift = tuple(self.index * length if axis == self.axis else 0 for axis, length in enumerate(self.local))
        for box in boxes(start, start + size, self.local):
            yield tuple(first + more for first, more in zip(box.offset, shift, strict=True)), box.size


@dataclass(frozen=True)
class Shard:
    """Elements `start` .. `start + size` of a flattened part, whose master copy is this rank's."""

    name: str
    """Canonical name of the weight."""
    weight: nn.Parameter
    part: Part
    start: int
    size: int
    group: int
    """Of the flat tensors that the optimizer steps."""
    first: int
    """Where in that flat tensor."""
    writes: bool
    """Whether this rank writes it: of tensor-parallel ranks that have the same, the first does."""

    def of(self, flat: Tensor) -> Tensor:
        """Its values in a tensor that is laid out as its group."""
        return flat.narrow(0, self.first, self.size)


def part_of(name: str, whole: Sizes, weight: nn.Parameter, ranks: int, index: int) -> Part:
    """What this rank has of a weight; RunError where it is no equal block along one axis."""
    local = tuple(getattr(weight, "ds_shape", weight.shape))  # at stage 3 nothing of it is in place
    cut = [axis for axis, (all_, some) in enumerate(zip(whole, local, strict=True)) if all_ != some]
    if not cut:
        return Part(whole, local, None, index)
    if len(cut) > 1 or local[cut[0]] * ranks != whole[cut[0]]:
        raise RunError(f"DeepSpeed divided `{name}` of shape {whole} into parts of {local}, which are no equal blocks")
    return Part(whole, local, cut[0], index)


def shards(optimizer: Any, weights: Mapping[str, nn.Parameter], parts: Mapping[str, Part]) -> tuple[Shard, ...]:
    """What this rank owns of each weight that it owns a part of."""
    found = []
    for name, weight in weights.items():
        owned = _divided(optimizer, weight) if is_stage_3(optimizer) else _of_group(weight)
        if owned is not None and owned[1] > 0:
            part = parts[name]
            copied = part.axis is None and not _over_all(optimizer, weight)
            found.append(Shard(name, weight, part, *owned, writes=part.index == 0 or not copied))
    return tuple(found)


def _over_all(optimizer: Any, weight: nn.Parameter) -> bool:
    """Whether tensor-parallel ranks own different ranges: `zero.Init` divides among all ranks what AutoTP leaves."""
    if not is_stage_3(optimizer):
        return False
    return bool(optimizer._get_param_partition_world_size(weight) > dist.get_world_size(optimizer.dp_process_group))


def is_stage_3(optimizer: Any) -> bool:
    """Whether weights are divided one by one."""
    return isinstance(optimizer, DeepSpeedZeroOptimizer_Stage3)


def flats(optimizer: Any) -> list[Tensor]:
    """The flat fp32 master weights of each group: the parameters of the optimizer behind ZeRO."""
    if is_stage_3(optimizer):
        return list(optimizer.fp32_partitioned_groups_flat)
    return [group["params"][0] for group in optimizer.optimizer.param_groups]


def pieces(optimizer: Any, owned: tuple[Shard, ...]) -> Iterator[Piece]:
    """Master weights, then optimizer states, as ranges and rectangles of whole tensors."""
    groups = _by_group(tuple(shard for shard in owned if shard.writes))
    for group, shards_ in groups.items():
        with at_hand(optimizer, group) as lent:
            flat = flats(optimizer)[group].detach()
            flat = flat.clone() if lent else flat  # the buffer that it is in serves the next group
        for shard in shards_:
            yield from _written(f"{MODEL}/{shard.name}", shard, shard.of(flat))
    for group, shards_ in groups.items():
        with at_hand(optimizer, group) as lent:
            state = {key: value.clone() if lent else value for key, value in _states(optimizer, group).items()}
            size = flats(optimizer)[group].numel()
        for shard in shards_:
            for key, value in state.items():
                yield from _of_state(f"{OPTIMIZER}/{shard.name}/{key}", shard, value, size)


@torch.no_grad()
def fill(optimizer: Any, owned: tuple[Shard, ...], read: Read) -> None:
    """Set the master weights, and on every rank the weights that the model computes with."""
    for group, shards_ in _by_group(owned).items():
        with at_hand(optimizer, group, changed=True):
            flat = flats(optimizer)[group]
            for shard in shards_:
                _read_into(shard.of(flat), shard, shard.name, read)
    _write_back(optimizer)


@torch.no_grad()
def restore(optimizer: Any, owned: tuple[Shard, ...], found: Checkpoint) -> None:
    """Continue from a checkpoint: weights and states of the optimizer, whoever wrote them."""
    fill(optimizer, owned, reader(found, MODEL))
    for group, shards_ in _by_group(owned).items():
        keys = _keys(found, shards_)
        with at_hand(optimizer, group, changed=True):
            flat = flats(optimizer)[group]
            optimizer.optimizer.state[flat] = {key: _state(found, shards_, key, flat) for key in keys}
    if not is_stage_3(optimizer):
        optimizer._hp_optimizer_states_linked = False  # to the states that were there before


def reader(found: Checkpoint, group: str) -> Read:
    """Reads parts of the weights of a checkpoint."""

    def read(name: str, offset: int | Sizes, size: int | Sizes) -> Tensor:
        if isinstance(offset, int):
            assert isinstance(size, int)
            return found.read_flat(f"{group}/{name}", offset, offset + size)
        assert not isinstance(size, int)
        return found.read(f"{group}/{name}", offset, size)

    return read


def _state(found: Checkpoint, shards_: list[Shard], key: str, flat: Tensor) -> Tensor:
    """A state of a whole group: as large as the weights, or one number, which all weights of a group share."""
    name = f"{OPTIMIZER}/{shards_[0].name}/{key}"
    if found.shape(name) == ():
        numbers = {found.tensor(f"{OPTIMIZER}/{shard.name}/{key}").item() for shard in shards_}
        if len(numbers) > 1:
            raise RunError(f"{found.path} has {len(numbers)} values of `{key}`, and weights of one group share it")
        return found.tensor(name).clone()
    value = torch.zeros_like(flat)
    for shard in shards_:
        read = reader(found, f"{OPTIMIZER}/{shard.name}")
        _read_into(shard.of(value), shard, key, read)
    return value


def _keys(found: Checkpoint, shards_: list[Shard]) -> tuple[str, ...]:
    """Names of the states of a group; RunError where its weights have different ones."""
    each = [tuple(name.rpartition("/")[2] for name in found.names(f"{OPTIMIZER}/{shard.name}/")) for shard in shards_]
    for shard, keys in zip(shards_, each, strict=True):
        if sorted(keys) != sorted(each[0]):
            raise RunError(
                f"{found.path} is of another optimizer than this plan: it has {', '.join(keys) or 'no states'} of "
                f"`{shard.name}`, and {', '.join(each[0]) or 'none'} of `{shards_[0].name}`"
            )
    return each[0]


def _of_state(name: str, shard: Shard, value: Tensor, size: int) -> Iterator[Piece]:
    if value.dim():
        if value.numel() != size:
            raise RunError(
                f"`{name}` has {value.numel():,} values for {size:,} of its group, and no place in each weight"
            )
        yield from _written(name, shard, shard.of(value))
    elif shard.start == 0 and (shard.part.axis is None or shard.part.index == 0):  # one number for the whole weight
        yield Piece(name, (), (), value)


def _written(name: str, shard: Shard, values: Tensor) -> Iterator[Piece]:
    at = 0
    for offset, size in shard.part.places(shard.start, shard.size):
        count = size if isinstance(size, int) else prod(size)
        some = values[at : at + count]
        yield Piece(name, shard.part.whole, offset, some if isinstance(size, int) else some.view(size))
        at += count


def _read_into(target: Tensor, shard: Shard, name: str, read: Read) -> None:
    at = 0
    for offset, size in shard.part.places(shard.start, shard.size):
        count = size if isinstance(size, int) else prod(size)
        target[at : at + count].copy_(read(name, offset, size).reshape(-1))
        at += count


def _states(optimizer: Any, group: int) -> dict[str, Tensor]:
    """The optimizer's states of a group by name; empty before the first step."""
    kept: dict[str, Any] = optimizer.optimizer.state.get(flats(optimizer)[group], {})
    return {name: value for name, value in kept.items() if isinstance(value, Tensor)}


def _by_group(owned: tuple[Shard, ...]) -> dict[int, list[Shard]]:
    groups: dict[int, list[Shard]] = {}
    for shard in owned:
        groups.setdefault(shard.group, []).append(shard)
    return groups


def _of_group(weight: Any) -> tuple[int, int, int, int] | None:
    held = weight._hp_mapping
    if held is None:
        return None
    inside, flat = held.lp_fragment_address, held.hp_fragment_address
    return inside.start, inside.numel, held.param_group_index, flat.start


def _divided(optimizer: Any, weight: Any) -> tuple[int, int, int, int]:
    group, first, size = optimizer.grad_position[optimizer.get_param_id(weight)]
    start = optimizer._get_param_partition_rank(weight) * size
    return start, min(size, weight.ds_numel - start), group, first


def _write_back(optimizer: Any) -> None:
    """Make the weights that the model computes with those of the master copies, on every rank."""
    if not is_stage_3(optimizer):
        optimizer.update_lp_params()
        return
    optimizer._partition_all_parameters()
    for group in range(len(optimizer.fp16_groups)):
        with at_hand(optimizer, group):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
    if optimizer.persistent_parameters:  # small weights stay whole between steps
        optimizer.persistent_parameters[0].all_gather(optimizer.persistent_parameters)
