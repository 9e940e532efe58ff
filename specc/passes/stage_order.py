"""Stages in the order in which they can run."""

from __future__ import annotations

from dataclasses import replace
from graphlib import TopologicalSorter

from specc.ir import Experiment


def order_stages(experiment: Experiment) -> Experiment:
    """Each stage after those that it builds on; otherwise as they were written."""
    sorter = TopologicalSorter({stage.name: stage.after for stage in experiment.stages})
    sorter.prepare()
    position = {stage.name: index for index, stage in enumerate(experiment.stages)}
    ordered: list[str] = []
    waiting: list[str] = []
    while sorter.is_active():
        waiting = sorted([*waiting, *sorter.get_ready()], key=position.__getitem__)
        first, *waiting = waiting
        ordered.append(first)
        sorter.done(first)
    return replace(experiment, stages=tuple(experiment.stage(name) for name in ordered))
