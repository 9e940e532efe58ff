"""`NAME.sweep.json`: the variants of a sweep, for runners, the store and job arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from specc import __version__, ir
from specc.backends.artifact import Artifact
from specc.manifest import SweepIndex, SweepVariant, digest, sweep_path

Member = tuple[ir.Plan, Mapping[str, Any], tuple[Artifact, ...]]
"""A variant: its plan, the values that it has by path, and its files, the manifest last."""


def emit(sweep: str, members: Iterable[Member]) -> Artifact:
    """The index of a sweep; its path is relative to the folder that holds those of the variants."""
    variants = tuple(
        SweepVariant(
            experiment=plan.experiment.name,
            folder=plan.experiment.name,
            overrides=dict(overrides),
            identity=plan.experiment.identity,
            manifest=digest(artifacts[-1].text),
        )
        for plan, overrides, artifacts in members
    )
    return Artifact(sweep_path(sweep), SweepIndex(__version__, sweep, variants).to_json())
