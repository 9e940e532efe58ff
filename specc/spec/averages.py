"""Stages that read an average of weights, and stages that keep one."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.spec.spec import Spec


def check_averages(spec: Spec) -> Iterator[Finding]:
    """An average that is asked for, of a model whose stage keeps none."""
    for name, stage in spec.stages.items():
        if getattr(stage, "weights", "last") != "ema":
            continue
        for mention in stage.mentions():
            other = spec.stages.get(mention.name) if mention.sought == "stage" else None
            if other is not None and getattr(other, "ema", None) is None:
                yield Finding(
                    "SPC347",
                    f"stage `{name}` reads the average of weights, and stage `{mention.name}` keeps none",
                    (At(("stages", name, "weights")), At(("stages", mention.name), of_key=True)),
                    help=_help(mention.name, hasattr(other, "ema")),
                )


def _help(name: str, can_keep: bool) -> str:
    without = "leave `weights` out"
    return f"add `stages.{name}.ema: {{decay: 0.999}}`, or {without}" if can_keep else without
