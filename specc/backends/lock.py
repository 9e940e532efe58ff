"""`experiment.lock.yaml`: the resolved spec, every default made explicit."""

from __future__ import annotations

import json
import re
from functools import lru_cache

import yaml

from specc import ir
from specc.backends.artifact import Artifact
from specc.backends.notice import notice
from specc.backends.tree import nested

# PyYAML writes YAML 1.1, where `1e5` is text and needs no quotes; a reader of 1.2 would take it for a number.
_LIKE_A_NUMBER = re.compile(r"[-+.0-9][-+._0-9a-fA-FxoX]*")

PATH = "experiment.lock.yaml"
_AUTO = "\n    kernel: auto"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One file, which is itself a spec: compiling it gives the same experiment."""
    tree = nested(plan.experiment.settings)
    sections = {key: _section(json.dumps({key: value}, ensure_ascii=False)) for key, value in tree.items()}
    # The one `auto` that decides on code, and that no other part of a plan writes out.
    sections["model"] = sections["model"].replace(_AUTO, f"{_AUTO}  # {plan.experiment.model.values['kernel']}", 1)
    text = "".join(sections.values())
    return (Artifact(PATH, f"# The resolved spec, every default made explicit. {notice()}\n{text}"),)


@lru_cache(maxsize=64)
def _section(values: str) -> str:
    """One section as YAML, given as JSON. Variants of a sweep share most of theirs, and PyYAML is slow."""
    return yaml.dump(json.loads(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.2 would read as a number."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "'" if _LIKE_A_NUMBER.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
