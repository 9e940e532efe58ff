"""Mixtures of experts: the `ffn` section, and experts that lie on a disk one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specc.huggingface import parts
from specc.huggingface.family import Config, Section
from specc.huggingface.layers import LAYER, OURS
from specc.huggingface.parts import differing
from specc.huggingface.tensors import Move, in_layer, same
from specc.huggingface.unspoken import Unspoken

COEFFICIENT = "router_aux_loss_coef"
GATE, UP, DOWN = "gate_proj", "up_proj", "down_proj"


def section(values: Mapping[str, Any], dense: Sequence[int], num_layers: int, intermediate_size: int) -> Section:
    """An `ffn` section of experts, a plain SwiGLU in the layers `dense`; only that where those are all."""
    if len(dense) == num_layers:
        return {"kind": "swiglu", "intermediate_size": intermediate_size}
    plain = {"layers": list(dense), "intermediate_size": intermediate_size} if dense else None
    return {"kind": "moe", **differing({**values, "dense": plain}, parts.EXPERTS)}


def filled(ffn: Mapping[str, Any]) -> dict[str, Any]:
    """An `ffn` section of experts with every key. KeyError for another kind."""
    if ffn["kind"] != "moe":
        raise KeyError(f"`ffn.kind: {ffn['kind']}` has no experts")
    return {**parts.EXPERTS, "balancing": {"kind": "none"}, **ffn}


def balancing(config: Config) -> Section:
    """The loss that keeps experts evenly used, in transformers' form (load_balancing_loss_func).

    Its coefficient is used with `output_router_logits` only, and without it changes nothing: gpt-oss says 0.9.
    """
    written = config[COEFFICIENT]
    if not isinstance(written, int | float) or isinstance(written, bool):
        raise Unspoken((COEFFICIENT,), written, "it is a number")
    used = config["output_router_logits"] and written
    return {"kind": "loss", "coefficient": float(written)} if used else {"kind": "none"}


def their_loss(ffn: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `balancing`."""
    chosen = filled(ffn)["balancing"]
    if chosen["kind"] == "none":
        return {"output_router_logits": False}
    return {"output_router_logits": True, COEFFICIENT: chosen.get("coefficient", 0.0)}


def their_sizes(model: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes by the names that configs after Llama have, `head_dim` only where it does not follow from the width."""
    sizes = parts.their_sizes(model)
    follows = sizes["head_dim"] * sizes["num_attention_heads"] == sizes["hidden_size"]
    return {key: value for key, value in sizes.items() if key != "head_dim" or not follows}


def silu(config: Config, key: str = "hidden_act") -> None:
    """Unspoken where the gate of the experts is no SiLU."""
    if config[key] not in ("silu", "swish"):
        raise Unspoken((key,), config[key], "the gate of experts is `silu`")


def per_layer(
    num_layers: int, layer: Iterable[Move], dense: Sequence[int], one: Iterable[Move], other: Iterable[Move]
) -> tuple[Move, ...]:
    """The moves of all layers: `layer` in each, with those of a plain feed-forward (`one`) or of experts (`other`)."""
    shared, plain, mixed = tuple(layer), tuple(one), tuple(other)
    return tuple(
        in_layer(move, index)
        for index in range(num_layers)
        for move in (*shared, *(plain if index in dense else mixed))
    )


def one_by_one(theirs: str, names: Mapping[str, str], count: int) -> tuple[Move, ...]:
    """`count` experts below `theirs` with a tensor for each projection; `names` gives theirs for each of ours."""
    return tuple(
        Move(f"{LAYER}.{theirs}.{index}.{name}.weight", (f"{OURS}.ffn.experts.{ours}",), "slice", index=index)
        for ours, name in names.items()
        for index in range(count)
    )


def router(theirs: str) -> Move:
    """The matrix that scores experts."""
    return same(f"{LAYER}.{theirs}.weight", f"{OURS}.ffn.router.weight")


def shared(theirs: str) -> tuple[Move, ...]:
    """The expert that every token goes to."""
    return tuple(same(f"{LAYER}.{theirs}.{n}.weight", f"{OURS}.ffn.shared.{n}.weight") for n in (GATE, UP, DOWN))
