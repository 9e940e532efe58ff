"""What a stage brings that not every engine can divide: traits of its model, of its training and of its machines.

Each is read from what kinds answered when they were lowered. Which engine cannot do what with it is for the table in
`combinations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from specc.ir.component import Component
from specc.ir.experiment import Stage, Training
from specc.ir.model import Model
from specc.ir.plan import Cluster


@dataclass(frozen=True)
class Brought:
    """What traits are read from."""

    model: Model
    training: Training
    cluster: Cluster

    @property
    def parts(self) -> Iterator[Component]:
        """Every component of the model, once for all equal blocks."""
        return (part for _, _, part in self.model.counted())

    def given(self, name: str) -> Any:
        """The first value but nothing that a kind of the model was given for a field; None where there is none."""
        return next((value for part in self.parts if (value := part.fields.get(name))), None)

    def has(self, kind: str) -> bool:
        """Whether the model has a component of this kind."""
        return any(part.kind == kind for part in self.parts)

    def normed(self, over: str) -> bool:
        """Whether queries and keys are normed over this."""
        return self.given("qk_norm") is not None and self.given("qk_norm_over") == over

    @property
    def objective(self) -> str:
        """What is predicted."""
        found = self.training.objective
        return "causal" if found is None else found.kind.removeprefix("objective/")


@dataclass(frozen=True)
class Trait:
    """A property by name, in the words of messages, with the key of the spec that asks for it."""

    name: str
    words: str
    path: tuple[str, ...]
    """From the root of the spec; from that of the stage where it begins with `stage`."""
    holds: Callable[[Brought], bool]

    def at(self, stage: Stage) -> tuple[str, ...]:
        """The path in the spec of that stage."""
        return ("stages", stage.name, *self.path[1:]) if self.path[0] == "stage" else self.path


def traits(model: Model, training: Training, cluster: Cluster) -> tuple[str, ...]:
    """The names of those that hold."""
    brought = Brought(model, training, cluster)
    return tuple(each.name for each in TRAITS if each.holds(brought))


def trait(name: str | None) -> Trait | None:
    """The one of that name; None where there is none, as for a feature of the layout."""
    return next((each for each in TRAITS if each.name == name), None)


_MODEL, _ATTENTION = ("model",), ("model", "attention")

TRAITS: tuple[Trait, ...] = (
    Trait("tied", "a head that shares the embedding's table", (*_MODEL, "tie_embeddings"), lambda b: b.model.is_tied),
    Trait("encoder", "an encoder", (*_MODEL, "kind"), lambda b: b.model.family == "encoder"),
    Trait("two_stacks", "an encoder-decoder", (*_MODEL, "kind"), lambda b: b.model.encoder is not None),
    Trait("shared_layers", "blocks that layers share", (*_MODEL, "layer_sharing"), lambda b: b.model.shares_blocks),
    Trait("bottlenecks", "adapters in its blocks", (*_MODEL, "adapters"), lambda b: b.model.has_adapters),
    Trait(
        "prediction",
        "blocks that predict further tokens",
        (*_MODEL, "prediction"),
        lambda b: "prediction" in b.model.values,
    ),
    Trait("latent", "multi-head latent attention", (*_ATTENTION, "kind"), lambda b: b.has("attention/mla")),
    Trait(
        "width_norm",
        "a norm over the queries of all heads",
        (*_ATTENTION, "qk_norm_over"),
        lambda b: b.normed("width"),
    ),
    Trait("head_norm", "a norm that all heads share", (*_ATTENTION, "qk_norm"), lambda b: b.normed("head")),
    Trait(
        "each_head_norm",
        "a norm of its own for each head",
        (*_ATTENTION, "qk_norm_over"),
        lambda b: b.normed("each_head"),
    ),
    Trait(
        "other_kernel",
        "an attention kernel that is not `sdpa`",
        (*_ATTENTION, "kernel"),
        lambda b: b.given("kernel") not in (None, "auto", "sdpa") or bool(b.given("logit_softcap")),
    ),
    Trait("sinks", "attention sinks", (*_ATTENTION, "sinks"), lambda b: bool(b.given("sinks"))),
    Trait("relative", "relative positions", (*_MODEL, "position", "kind"), lambda b: b.has("position/relative")),
    Trait("table", "a table of positions", (*_MODEL, "position", "kind"), lambda b: b.has("position/learned")),
    Trait(
        "auxiliary",
        "experts whose load adds to the loss",
        (*_MODEL, "ffn", "balancing"),
        lambda b: b.model.regulation.auxiliary_loss is not None,
    ),
    Trait("experts", "experts", (*_MODEL, "ffn", "kind"), lambda b: bool(b.given("num_experts"))),
    Trait(
        "balanced",
        "experts whose load is kept even",
        (*_MODEL, "ffn", "balancing"),
        lambda b: b.model.regulation.after_step or b.model.regulation.auxiliary_loss is not None,
    ),
    Trait(
        "capacity",
        "experts that take so many tokens of a sequence",
        (*_MODEL, "ffn", "capacity_factor"),
        lambda b: bool(b.given("capacity_factor")),
    ),
    Trait("dropout", "dropout", (*_MODEL, "dropout"), lambda b: b.model.has_dropout),
    Trait(
        "apart",
        "documents that read nothing of each other",
        ("stage", "packing", "cross_document"),
        lambda b: b.training.options.get("cross_document") is False,
    ),
    Trait(
        "other_objective",
        "an objective that hides tokens or predicts several",
        ("stage", "objective"),
        lambda b: b.objective not in ("causal", "prefix"),
    ),
    Trait("prefix", "a prefix that is seen as a whole", ("stage", "objective"), lambda b: b.objective == "prefix"),
    Trait(
        "whole_matrices",
        "an optimizer that reads whole matrices",
        ("stage", "optimizer"),
        lambda b: b.training.shards == "matrices",
    ),
    Trait(
        "whole_rows",
        "an optimizer that reads whole rows",
        ("stage", "optimizer"),
        lambda b: b.training.shards == "rows",
    ),
    Trait(
        "several_optimizers",
        "several optimizers",
        ("stage", "optimizer"),
        lambda b: len({each.kind for each in b.training.optimizers}) > 1,
    ),
    Trait("growing", "batches that grow", ("stage", "batch_size_schedule"), lambda b: bool(b.training.phases)),
    Trait(
        "scored",
        "suites that are scored on the way",
        ("stage", "evaluation"),
        lambda b: b.training.evaluation is not None,
    ),
    Trait("averaged", "an average of the weights", ("stage", "ema"), lambda b: b.training.averaged),
    Trait("chunks", "a loss in chunks", ("stage", "loss_chunk"), lambda b: b.training.loss_chunk is not None),
    Trait("fp8", "fp8", ("stage", "precision"), lambda b: b.training.precision == "fp8"),
    Trait("fp16", "fp16", ("stage", "precision"), lambda b: b.training.precision == "fp16"),
    Trait("cpu", "a CPU", ("cluster", "device"), lambda b: b.cluster.device.name == "cpu"),
)
"""In the order in which messages name them."""
