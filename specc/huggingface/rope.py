"""Rotary angles: the one form that `rope_parameters` is completed to, and the `position` section it becomes.

transformers 5 writes `rope_parameters: {rope_type, rope_theta, ...}`; transformers 4 wrote `rope_theta` and
`rope_scaling: {type or rope_type, factor, ...}` beside each other. Both mean the same
(transformers 5.23, modeling_rope_utils.py, convert_rope_params_to_dict).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from specc.huggingface.family import Config, Rope, Section
from specc.huggingface.unspoken import Unspoken

LOCAL, GLOBAL = "sliding_attention", "full_attention"
SCALING: Mapping[str, Any] = {
    "attention_factor": "auto",
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": True,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
"""Keys of every scaling with the value that they have when nobody writes them."""
_SHARED = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})
_KEYS: dict[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor"}),
    "yarn": frozenset({"factor", "beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim", "truncate"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor"}),
    "longrope": frozenset({"factor", "attention_factor", "short_factor", "long_factor"}),
}
"""What each type of scaling reads, beyond the original context length."""
ORIGINAL = "original_max_position_embeddings"
"""Key of the context that angles were set for, among them or beside them."""
_MAY_BE_ZERO = ("mscale", "mscale_all_dim")
"""DeepSeek's multipliers, which do nothing where they are 0."""
_BANDS = {"yarn": ("beta_fast", "beta_slow"), "llama3": ("low_freq_factor", "high_freq_factor")}
"""Keys that are written also where they say our default: the classes want them, or have no default of their own."""
# Phi-3's first checkpoints called longrope by the name of their repository's branch.
_OLD_TYPES = {"su": "longrope"}


def completed(config: Mapping[str, Any], rope: Rope) -> dict[str, Any]:
    """The `rope_parameters` of a config in either form: flat, or {full_attention, sliding_attention} where the family
    gives windowed layers a base of their own. Unspoken for a value that is no mapping.
    """
    given = {key: config.get(key) for key in ("rope_scaling", "rope_parameters")}
    key = "rope_scaling" if given["rope_scaling"] else "rope_parameters"
    written = given[key] or rope.angles
    if not isinstance(written, Mapping):
        raise Unspoken((key,), written, "it is a mapping")
    theta = _given(config, rope.theta_key, rope.theta)
    if rope.local_theta is None:
        return _flat(written, (key,), theta, config, rope)
    if not any(isinstance(value, Mapping) for value in written.values()):
        # The form of transformers 4 scales the layers without a window only.
        local: Mapping[str, Any] = {"rope_theta": _given(config, rope.local_theta_key, rope.local_theta)}
        return {GLOBAL: _flat(written, (key,), theta, config, rope), LOCAL: _flat(local, (key,), theta, config, rope)}
    unknown = sorted(set(written) - {GLOBAL, LOCAL})
    if unknown:
        raise Unspoken((key, unknown[0]), written[unknown[0]], f"layers are `{GLOBAL}` or `{LOCAL}`")
    thetas = {GLOBAL: theta, LOCAL: _given(config, rope.local_theta_key, rope.local_theta)}
    return {name: _flat(written.get(name) or {}, (key, name), thetas[name], config, rope) for name in (GLOBAL, LOCAL)}


def position(config: Config, context_length: int) -> Section:
    """The `position` section of a completed config: what a model with rotary angles says about order.

    `context_length` is the `max_position_embeddings` of the config, which scalings without an original context stretch.
    """
    angles = config["rope_parameters"]
    path: tuple[str, ...] = ("rope_parameters",)
    local = angles.get(LOCAL)
    if local is not None:
        angles, path = angles[GLOBAL], (*path, GLOBAL)
        if local["rope_type"] != "default":
            reason = "layers with a window turn by angles that are not scaled"
            raise Unspoken(("rope_parameters", LOCAL, "rope_type"), local["rope_type"], reason)
    section: Section = {"kind": "rope", "rope_theta": float(angles["rope_theta"])}
    if local is not None and float(local["rope_theta"]) != section["rope_theta"]:
        section["local_rope_theta"] = float(local["rope_theta"])
    if angles.get("partial_rotary_factor", 1.0) != 1.0:
        section["partial_rotary_factor"] = float(angles["partial_rotary_factor"])
    original = angles.get(ORIGINAL) or config.get(ORIGINAL) or context_length
    return {**section, **_scaling(angles, path, original, context_length)}


def parameters(position: Mapping[str, Any], *, partial: bool = False, always_local: bool = False) -> dict[str, Any]:
    """The `rope_parameters` of a `position` section with its defaults explicit: the inverse of `position`.

    `partial` is whether the config class keeps the share of a head that is turned among the angles, `always_local`
    whether it keeps those of layers with a window apart, also where they are the same.
    """
    scaling = dict(position.get("scaling") or {"kind": "default"})
    kind = scaling.pop("kind")
    shared: dict[str, Any] = {"rope_type": kind, "rope_theta": position["rope_theta"]}
    if partial or position.get("partial_rotary_factor", 1.0) != 1.0:
        shared["partial_rotary_factor"] = position.get("partial_rotary_factor", 1.0)
    if kind in ("yarn", "llama3", "longrope"):
        shared[ORIGINAL] = position["original_context_length"]
    bands = {key: SCALING[key] for key in _BANDS.get(kind, ())}
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in scaling.items()}
    said = {**bands, **{key: value for key, value in lists.items() if value is not None and value != "auto"}}
    if said.get("truncate"):
        del said["truncate"]
    angles = {**shared, **said}
    local = position.get("local_rope_theta")
    if local is None and not always_local:
        return angles
    base = position["rope_theta"] if local is None else local
    return {GLOBAL: angles, LOCAL: {"rope_type": "default", "rope_theta": base}}


def yarn_factor(factor: float, mscale: float | None, mscale_all_dim: float | None) -> float:
    """What cosine and sine are multiplied by (DeepSeek-V2's mscale; transformers 5.23, _compute_yarn_parameters)."""
    if mscale and mscale_all_dim:
        return grown(factor, mscale) / grown(factor, mscale_all_dim)
    return grown(factor, 1.0)


def grown(factor: float, mscale: float) -> float:
    """YaRN's growth of queries and keys: 0.1 m ln(factor) + 1 (Peng et al. 2023, arXiv:2309.00071, section 3.4)."""
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1.0 else 1.0


def _given(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key)
    if value is None:
        return default
    _check_number((key,), value)
    return float(value)


def _check_number(path: tuple[str | int, ...], value: Any) -> None:
    """Unspoken for what is no number above 0, and for an original context that has no logarithm above 0."""
    least = 1 if path[-1] == ORIGINAL else 0
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= least:
        raise Unspoken(path, value, f"it is a number above {least}")


def _check_values(written: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key, value in written.items():
        if key in ("rope_type", "type", "truncate") or value is None or (key in _MAY_BE_ZERO and value == 0):
            continue
        if key not in ("short_factor", "long_factor"):
            _check_number((*path, key), value)
            continue
        if not isinstance(value, list | tuple):
            raise Unspoken((*path, key), value, "it is a list of numbers")
        for index, one in enumerate(value):
            _check_number((*path, key, index), one)


def _flat(
    written: Mapping[str, Any], path: tuple[str, ...], theta: float, config: Mapping[str, Any], rope: Rope
) -> dict[str, Any]:
    """One set of angles: its type by one name, its base and, where the class has it, its share always there."""
    kind = written.get("rope_type") or written.get("type") or "default"
    kind = _OLD_TYPES.get(kind, kind)
    known = _KEYS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise Unspoken((*path, "rope_type"), kind, f"the scalings known are {', '.join(_KEYS)}")
    unknown = sorted(set(written) - known - _SHARED - {ORIGINAL})
    if unknown:
        reason = f"a `rope_type` of `{kind}` has no such key"
        raise Unspoken((*path, unknown[0]), written[unknown[0]], reason)
    _check_values(written, path)
    shared = {"rope_type": kind, "rope_theta": _given(written, "rope_theta", theta)}
    if rope.partial is None and _given(written, "partial_rotary_factor", 1.0) != 1.0:
        value = written["partial_rotary_factor"]
        raise Unspoken((*path, "partial_rotary_factor"), value, "this family turns whole heads")
    if rope.partial is not None:
        partial = _given(config, rope.partial_key, rope.partial)
        shared["partial_rotary_factor"] = _given(written, "partial_rotary_factor", partial)
    return {**{key: value for key, value in written.items() if key != "type"}, **shared}


def _scaling(angles: Mapping[str, Any], path: tuple[str, ...], original: int, context_length: int) -> Section:
    """`original_context_length` and `scaling`; nothing where the angles are as trained."""
    kind = angles["rope_type"]
    if kind == "default":
        return {}
    if kind == "longrope":
        return {"original_context_length": original, "scaling": _longrope(angles, path, original, context_length)}
    factor = _factor(angles, path, original, context_length)
    chosen: Section = {"kind": kind, "factor": factor}
    if kind == "linear":
        # Angles divided by 1 are angles as trained, and our language has no scaling that does nothing.
        return {} if factor == 1.0 else {"scaling": chosen}
    if kind == "yarn":
        chosen |= _yarn(angles, factor)
    if kind == "llama3":
        chosen |= {key: float(angles[key]) for key in ("low_freq_factor", "high_freq_factor") if key in angles}
    said = {key: value for key, value in chosen.items() if key not in SCALING or SCALING[key] != value}
    return {"original_context_length": context_length if kind == "dynamic" else original, "scaling": said}


def _factor(angles: Mapping[str, Any], path: tuple[str, ...], original: int, context_length: int) -> float:
    factor = angles.get("factor")
    if factor is None and angles["rope_type"] in ("yarn", "longrope"):
        return context_length / original
    if not isinstance(factor, int | float) or isinstance(factor, bool):
        raise Unspoken((*path, "factor"), factor, f"a `rope_type` of `{angles['rope_type']}` needs a number")
    return float(factor)


def _yarn(angles: Mapping[str, Any], factor: float) -> Section:
    chosen: Section = {key: float(angles[key]) for key in ("beta_fast", "beta_slow") if angles.get(key)}
    written = angles.get("attention_factor")
    scales = yarn_factor(factor, angles.get("mscale"), angles.get("mscale_all_dim"))
    if written is not None or scales != grown(factor, 1.0):
        chosen["attention_factor"] = scales if written is None else float(written)
    return chosen if angles.get("truncate", True) else {**chosen, "truncate": False}


def _longrope(angles: Mapping[str, Any], path: tuple[str, ...], original: int, context_length: int) -> Section:
    chosen: Section = {"kind": "longrope"}
    for key in ("short_factor", "long_factor"):
        if not isinstance(angles.get(key), list | tuple):
            raise Unspoken((*path, key), angles.get(key), "a `rope_type` of `longrope` needs a list of numbers")
        chosen[key] = [float(one) for one in angles[key]]
    factor = _factor(angles, path, original, context_length)
    written = angles.get("attention_factor")
    if written is None and factor != context_length / original:
        written = 1.0 if factor <= 1.0 else math.sqrt(1 + math.log(factor) / math.log(original))
    return chosen if written is None else {**chosen, "attention_factor": float(written)}
