"""The `xla` engine: one process drives every device of its host through torch-xla's SPMD (GSPMD, arXiv:2105.04663).

A step is traced as if there were one device of the size of all, and the compiler divides it by the partition specs of
weights and batches. It is two programs, each compiled once: one gives the loss, the norm and the gradients, the other
one applies them. Between them the loop looks at both numbers, and nothing else leaves the devices.

`torch.compile(backend="openxla")` is never used here: under SPMD its second step is silently wrong (measured with
torch-xla 2.9.0 on meshes 4x1 and 2x2: losses off by 1.5e-2 after 6 steps).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_xla
import torch_xla.backends
import torch_xla.core.xla_model as xm
import torch_xla.distributed.spmd as xs
import torch_xla.runtime as xr
from torch import Tensor, nn
from torch_xla.utils.checkpoint import checkpoint

from runners.checkpoint import MODEL, OPTIMIZER, Checkpoint, Piece, optimizer_state, whole_piece
from runners.engines.engine import Optimizer
from runners.engines.recompute import blocks
from runners.engines.step import Step
from runners.engines.xla_placement import ROWS, Spec, Table, find, table
from runners.engines.xla_placement import mesh as mesh_axes
from runners.errors import RunError
from runners.init import chosen_rules, draw
from runners.layout import Layout
from runners.objective.examples import IGNORE, Examples
from runners.ranks import ALONE, Ranks
from runners.recipe import Recipe


def start(layout: Layout) -> torch.device:
    """The virtual device that stands for all of this host; RunError when they are not those of the plan."""
    wanted = math.prod(size for _, size in mesh_axes(layout))
    xr.use_spmd()
    if xr.process_count() > 1:
        raise RunError(f"engine `xla` runs on one host, and this is one of {xr.process_count()}")
    there = xr.global_runtime_device_count()
    if there != wanted:
        raise RunError(
            f"the plan is laid out for {wanted} devices, and there are {there} {xr.device_type()} devices here"
        )
    return torch_xla.device()


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> XlaEngine:
    """The model with its first weights, spread over the devices; they are drawn where there is no `base`."""
    del ranks  # one process
    settings = recipe.settings
    layout = settings.layout or Layout()
    sizes = dict(mesh_axes(layout))
    mesh = xs.Mesh(list(range(math.prod(sizes.values()))), tuple(sizes.values()), tuple(sizes))
    _multiply_as(settings.precision)
    with torch.device("meta"):
        model = recipe.model()
    rows = table(layout, {name: tuple(weight.shape) for name, weight in model.named_parameters()})
    for name, first in _first_weights(model, recipe, base):
        holder, _, word = name.rpartition(".")
        setattr(model.get_submodule(holder), word, nn.Parameter(sent(first, mesh, find(rows, name))))
    if settings.activation_checkpointing == "full":
        for block in blocks(model):
            block.forward = _recomputing(block.forward)
    step = Step(model, settings.precision, settings.loss)
    batch = settings.micro_batch_size * layout.replicate * layout.shard
    optimizer = recipe.optimizer(model)
    return XlaEngine(step, optimizer, place, mesh, rows, batch, settings.max_grad_norm, keepers(model, optimizer))


@dataclass(frozen=True)
class XlaEngine:
    """A model with its optimizer on the devices of a mesh."""

    step: Step
    optimizer: Optimizer
    device: torch.device
    """The virtual one that stands for all."""
    mesh: xs.Mesh
    table: Table
    rows: int
    """Sequences per forward pass, on all devices together."""
    max_grad_norm: float | None
    keepers: Mapping[str, torch.optim.Optimizer]
    """By the name of a weight, the part of the optimizer that keeps its states."""
    placed: set[tuple[str, str]] = field(default_factory=set)
    """States that the compiler knows the place of: weight and name."""
    ranks: Ranks = ALONE

    @property
    def model(self) -> nn.Module:
        """The whole model; every weight lies where the table says."""
        return self.step.model

    @property
    def parameters(self) -> int:
        """Parameters of the model."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def writes(self) -> bool:
        """No: every token longer would be another program to compile."""
        return False

    @property
    def loss_scale(self) -> float | None:
        """None: fp16 is not run."""
        return None

    @property
    def may_skip(self) -> bool:
        """No step is left out."""
        return False

    def gradients(self, examples: Examples) -> tuple[float, float]:
        """Set the gradients for a batch; the loss in nats per target token, and their norm before clipping."""
        self.step.train()
        self.optimizer.zero_grad(set_to_none=True)
        # Dropout: the loop sets PyTorch's seed for (seed, step), and XLA draws from a generator of its own.
        xm.set_rng_state(torch.initial_seed())
        total = torch.zeros((), device=self.device)
        for number, micro in enumerate(examples.split(self.rows)):
            if number:
                # A program of its own for each: all in one would take as many times as long to compile.
                self._place_gradients()
                torch_xla.sync()
            loss, tokens = self.step(self._placed(micro), len(micro.ids) / len(examples.ids))
            total = total + tokens
            torch.autograd.backward(loss)
        limit = float("inf") if self.max_grad_norm is None else self.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self._place_gradients()
        both = torch.stack([total, norm])
        torch_xla.sync()
        loss_value, norm_value = both.tolist()
        return loss_value, norm_value

    def update(self, learning_rate: float) -> None:
        """Apply the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("scale", 1.0)
        self.optimizer.step()
        self._place_states()
        torch_xla.sync()

    @torch.no_grad()
    def validation_loss(self, examples: Examples) -> float:
        """Mean loss over the targets of a batch, nats per token."""
        self.step.eval()
        losses = []
        for micro in examples.split(self.rows):
            # Filled up with rows that count nothing: another number of rows would be another program.
            _, tokens = self.step(self._placed(filled(micro, self.rows)), 0.0)
            torch_xla.sync()
            losses.append(tokens.item())
        return math.fsum(losses)

    def auxiliary(self) -> float | None:
        """None: models of experts are not run."""
        return None

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic of the forward pass."""
        return self.step.autocast(self.device)

    def pieces(self) -> Iterator[Piece]:
        """All weights and states, whole: the files are those that one process of another engine would write."""
        xm.wait_device_ops()  # the last update may still run, and a tensor has no shards before it is there
        for name, weight in self.model.named_parameters():
            yield whole_piece(f"{MODEL}/{name}", fetched(weight))
        for name, weight in self.model.named_parameters():
            for word, state in self.keepers[name].state[weight].items():
                yield whole_piece(f"{OPTIMIZER}/{name}/{word}", fetched(state))

    def scalars(self) -> dict[str, Any]:
        """Nothing: data and masks of dropout follow from the number of the step."""
        return {}

    def restore(self, found: Checkpoint) -> None:
        """Continue from a checkpoint, also one of another layout or engine."""
        optimizer_state.restore(found, self.model, self.optimizer)
        for name, weight in self.model.named_parameters():
            self._place(weight, find(self.table, name))
        self.placed.clear()
        self._place_states()
        torch_xla.sync()

    def _placed(self, examples: Examples) -> Examples:
        """On the devices, their rows divided over all that do not divide a matrix."""
        there = examples.to(self.device)
        for tensor in (there.ids, there.targets, *there.more.values()):
            self._place(tensor, (ROWS, *(None for _ in tensor.shape[1:])))
        return there

    def _place_gradients(self) -> None:
        for name, weight in self.model.named_parameters():
            if weight.grad is not None:
                self._place(weight.grad, find(self.table, name))

    def _place_states(self) -> None:
        """States lie as their weights do. Told once for each: a tensor keeps its place while it is updated."""
        for name, weight in self.model.named_parameters():
            states = self.keepers[name].state[weight]
            for word, state in states.items():
                if state.shape == weight.shape and state.device == weight.device and (name, word) not in self.placed:
                    self._place(state, find(self.table, name))
                    self.placed.add((name, word))

    def _place(self, tensor: Tensor, spec: Spec) -> None:
        xs.mark_sharding(tensor, self.mesh, spec)


def sent(tensor: Tensor, mesh: xs.Mesh, spec: Spec) -> Tensor:
    """A tensor of the host, on the devices."""
    there = tensor.to(torch_xla.device())
    xs.mark_sharding(there, mesh, spec)
    return there


def fetched(tensor: Tensor) -> Tensor:
    """All of a tensor, on the host, shard by shard: `Tensor.cpu()` compiles a program for each tensor, each time."""
    if tensor.device.type != "xla":
        return tensor.detach()
    whole = torch.empty(tensor.shape, dtype=tensor.dtype)
    for shard in xs.XLAShardedTensor(tensor.detach()).local_shards:
        if shard.replica_id == 0:
            where = shard.indices if isinstance(shard.indices, type(...)) else tuple(shard.indices)
            whole[where] = shard.data
    return whole


def filled(examples: Examples, rows: int) -> Examples:
    """Up to `rows` rows: the first one again, with nothing to predict."""
    lacking = rows - len(examples.ids)
    if not lacking:
        return examples
    more = {
        name: torch.cat([value, value[:1].expand(lacking, *value.shape[1:])]) for name, value in examples.more.items()
    }
    ids = torch.cat([examples.ids, examples.ids[:1].expand(lacking, *examples.ids.shape[1:])])
    targets = torch.cat([examples.targets, torch.full((lacking, *examples.targets.shape[1:]), IGNORE)])
    return Examples(ids, targets, examples.count, more)


def keepers(model: nn.Module, optimizer: Optimizer) -> dict[str, torch.optim.Optimizer]:
    """By the name of a weight, which of several optimizers keeps its states."""
    parts: Iterable[torch.optim.Optimizer] = getattr(optimizer, "parts", (optimizer,))
    by_id = {id(weight): part for part in parts for group in part.param_groups for weight in group["params"]}
    return {name: by_id[id(weight)] for name, weight in model.named_parameters() if id(weight) in by_id}


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    """torch-xla's own: the compiler would find PyTorch's second computation to be the first one, and keep that."""

    def recomputing(*inputs: Any) -> Any:
        return checkpoint(forward, *inputs) if torch.is_grad_enabled() else forward(*inputs)

    return recomputing


def _multiply_as(precision: str) -> None:
    """Keep a TPU from rounding fp32 to bf16 in matrix products."""
    logging.getLogger(torch_xla.backends.__name__).setLevel(logging.ERROR)  # it warns of being called at all
    torch_xla.backends.set_mat_mul_precision("highest" if precision == "fp32" else "default")


def _first_weights(model: nn.Module, recipe: Recipe, base: Checkpoint | None) -> Iterator[tuple[str, Tensor]]:
    """Each weight as it starts, on the host, which holds one at a time; those of the model are on meta."""
    rules = chosen_rules(model, recipe.initialisation)
    for name, weight in list(model.named_parameters()):
        if base is None:
            drawn = draw(rules[name], recipe.settings.seed, name, 0, weight.numel(), weight.numel())
            yield name, drawn.view(weight.shape)
        elif (shape := base.shape(f"{MODEL}/{name}")) != tuple(weight.shape):
            here = tuple(weight.shape)
            raise RunError(
                f"{base.path} is of another model than this plan: `{name}` is {shape} there, and {here} here"
            )
        else:
            yield name, base.tensor(f"{MODEL}/{name}").to(weight.dtype)
