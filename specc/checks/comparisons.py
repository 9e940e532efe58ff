"""Models that are held beside the one that is trained."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.ir import Experiment, Training

_BF16_BYTES = 2


def check_idle_reference(experiment: Experiment) -> Iterator[Finding]:
    """A reference model whose distance has no weight."""
    named = {setting.path: setting.value for setting in experiment.settings if setting.path.endswith(".reference")}
    for stage in experiment.stages:
        reference = named.get(f"stages.{stage.name}.reference")
        if reference is None or not isinstance(stage.work, Training) or stage.work.options.get("kl") != 0.0:
            continue
        at = ("stages", stage.name)
        size = experiment.model.parameters * _BF16_BYTES
        weights = f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.2f} MiB"
        weighs = f"a model of this size has {weights} of weights in bf16, and it would read every token"
        yield Finding(
            "SPC509",
            f"`kl` is 0, so the reference model `{reference}` is loaded for nothing",
            (At((*at, "reference")), At((*at, "kl"))),
            (weighs,),
            help="leave `reference` out, or hold to it with `kl: 0.04` (Shao et al. 2024, arXiv:2402.03300)",
            severity="warning",
        )
