"""How many parameters the compiler counts for published models, beside what others count. Loads no torch.

python -m benchmarks.parameters FILE.csv

A row is a model: `config_json` is its config in transformers' words, or its sizes stand in columns of their own
(`n_layers`, `hidden`, `heads`, ...). `computed_params` and `published_params` are what it is held to. The exit code is
1 when a row differs or cannot be expressed.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from specc import huggingface, ir
from specc.huggingface import FAMILIES, Unspoken
from specc.kinds.model import MODEL

Row = Mapping[str, str]
# A class as `how_computed` writes it, before its config in parentheses.
_CLASS = re.compile(r"\b([A-Z]\w+?)\(")
# Names of models that do not begin with their `model_type`, the longer ones first.
_NAMES = {
    "command-r": "cohere",
    "deepseek-v2": "deepseek_v2",
    "deepseek-v3": "deepseek_v3",
    "gemma-3": "gemma3_text",
    "gemma-2-": "gemma2",
    "gpt-neox": "gpt_neox",
    "gpt-oss": "gpt_oss",
    "olmo-2": "olmo2",
    "phi-3": "phi3",
    "pythia": "gpt_neox",
    "qwen1.5": "qwen2",
    "smollm": "llama",
    "yi-": "llama",
}
_LLAMA = {"rope", "swiglu"}
_GPT2 = {"learned", "gelu"}
_SCALES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Outcome:
    """What the compiler counts for a row; None with the reason why not."""

    counted: int | None
    why: str = ""


class Inexpressible(Exception):
    """A row that names no model, or one that the language cannot say."""


def main(arguments: list[str] | None = None) -> int:
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parameters", description=__doc__)
    parser.add_argument("file", type=Path, help="a table with a row for each model")
    path = parser.parse_args(arguments).file
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2
    wrong = 0
    width = max((len(_name(row)) for row in rows), default=5)
    print(f"{'model':{width}}  {'counted':>19}  {'computed':>19}  {'published':>19}  verdict")
    for row in rows:
        outcome = count(row)
        faults = [outcome.why] if outcome.counted is None else list(_faults(outcome.counted, row))
        wrong += bool(faults)
        cells = (_number(outcome.counted), _number(row.get("computed_params")), _number(row.get("published_params")))
        shown = "  ".join(f"{cell:>19}" for cell in cells)
        print(f"{_name(row):{width}}  {shown}  {'; '.join(faults) or 'equal'}")
    print(f"\n{len(rows) - wrong} of {len(rows)} equal")
    return 1 if wrong else 0


def count(row: Row) -> Outcome:
    """The parameters of a row's model, tied ones once."""
    try:
        section = _section(row)
        kinds = {get_args(one.model_fields["kind"].annotation)[0]: one for one in MODEL}
        if section["kind"] not in kinds:
            raise Inexpressible(f"`model.kind: {section['kind']}` is not a kind")
        model = kinds[section["kind"]].model_validate(_frozen(section))
        return Outcome(model.lower(ir.Tokenizer("byte", 257, None, 1.0)).parameters)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("model", *(str(part) for part in first["loc"])))
        return Outcome(None, f"`{key}`: {first['msg']}")
    except (Unspoken, Inexpressible) as error:
        return Outcome(None, str(error))


def _section(row: Row) -> dict[str, Any]:
    """The `model:` section of a row."""
    written = row.get("config_json")
    if not written:
        config, model_type = _from_columns(row)
        return huggingface.read(config, model_type).model
    try:
        config = json.loads(written)
    except json.JSONDecodeError as error:
        raise Inexpressible(f"`config_json` is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise Inexpressible("`config_json` is no mapping")
    model_type, architecture = _family(config, row)
    named = {"architectures": [architecture]} if architecture is not None else {}
    return huggingface.read({**named, **config}, model_type).model


def _family(config: Mapping[str, Any], row: Row) -> tuple[str, str | None]:
    """`model_type` of a row: from its config, or the class that its figure was computed with, or its name.

    With the class, where it is known: the head of an encoder depends on it.
    """
    classes = {name: family.model_type for family in FAMILIES for name in family.architectures}
    found = next((name for name in _CLASS.findall(row.get("how_computed") or "") if name in classes), None)
    if config.get("model_type"):
        said = str(config["model_type"])
        return said, found if found is not None and classes[found] == said else None
    if found is not None:
        return classes[found], found
    name = (row.get("hf_id") or row.get("model") or "").rpartition("/")[2].lower()
    mixed = "_moe" if name.startswith("qwen") and ("num_experts" in config or "num_local_experts" in config) else ""
    types = {family.model_type.replace("_", "-"): family.model_type for family in FAMILIES} | _NAMES
    near = (types[start] for start in sorted(types, key=len, reverse=True) if name.startswith(start))
    model_type = next(near, None)
    if model_type is None:
        raise Inexpressible(f"neither `config_json` nor `how_computed` nor `{name}` names a family that is known")
    return model_type.removesuffix("_moe") + mixed, None


def _from_columns(row: Row) -> tuple[dict[str, Any], str]:
    """A config from sizes in columns: GPT-2 with learned positions, Llama with rotary ones and a gate."""
    form = {row.get("position"), row.get("ffn_kind")}
    try:
        layers, width, heads, inner, ids = (
            int(row[key]) for key in ("n_layers", "hidden", "heads", "ffn_hidden", "vocab")
        )
        context, kv_heads, head_dim = int(row.get("max_pos") or 2048), int(row["kv_heads"]), int(row["head_dim"])
    except (KeyError, TypeError, ValueError) as error:
        raise Inexpressible(f"without `config_json` its sizes are needed: {error}") from None
    tied = {"yes": True, "no": False}.get(row.get("tied") or "")
    if tied is None:
        raise Inexpressible(f"`tied` is `yes` or `no`, not {row.get('tied')!r}")
    if form == _GPT2 and (kv_heads, head_dim * heads) == (heads, width):
        sizes = {"n_layer": layers, "n_embd": width, "n_head": heads, "n_inner": inner, "n_positions": context}
        return {**sizes, "vocab_size": ids, "tie_word_embeddings": tied}, "gpt2"
    if form == _LLAMA:
        return {
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "intermediate_size": inner,
            "vocab_size": ids,
            "max_position_embeddings": context,
            "tie_word_embeddings": tied,
        }, "llama"
    said = ", ".join(sorted(str(one) for one in form))
    raise Inexpressible(f"columns are read as GPT-2 (learned, gelu) or Llama (rope, swiglu), not as {said}")


def _frozen(value: Any) -> Any:
    """The same with tuples for lists, as sections of a spec are held."""
    if isinstance(value, Mapping):
        return {key: _frozen(below) for key, below in value.items()}
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def _faults(counted: int, row: Row) -> Iterator[str]:
    """Figures that the count does not agree with, to the digits that they have."""
    held = [(key, row.get(key) or "") for key in ("computed_params", "published_params")]
    if not any(text for _, text in held):
        yield "nothing to compare with"
    for key, text in held:
        if not text:
            continue
        near = _agrees(counted, text)
        if near is None:
            yield f"`{key}` is no number: {text}"
        elif not near:
            yield f"differs from `{key}` {text}"


def _agrees(counted: int, text: str) -> bool | None:
    """Whether a count rounds to a figure such as 6,738,415,616 or 8.86B; None for one that is no number."""
    plain = text.strip().replace(",", "").replace("_", "")
    scale = _SCALES.get(plain[-1:].upper(), 1)
    try:
        figure = Decimal(plain[:-1] if scale > 1 else plain)
    except InvalidOperation:
        return None
    if scale == 1:
        return figure == counted
    exponent = figure.as_tuple().exponent
    if not isinstance(exponent, int):
        return None
    return round(Decimal(counted) / scale, -exponent) == figure


def _number(value: int | str | None) -> str:
    text = "" if value is None else str(value)
    return f"{int(text):,}" if text.isdigit() else text or "-"


def _name(row: Row) -> str:
    return row.get("model") or row.get("hf_id") or "?"


if __name__ == "__main__":
    sys.exit(main())
