"""`export.py` and `huggingface/STAGE.json`: a model in the words of transformers."""

from __future__ import annotations

import json
from typing import Any

from specc import ir
from specc.backends import modeling, templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice

KIND = "export"


def program(experiment: ir.Experiment, stage: ir.Stage) -> str:
    """`export.py`, or `export_STAGE.py` where an experiment exports more than once."""
    only = sum(other.kind == KIND for other in experiment.stages) == 1
    return "export.py" if only else f"export_{stage.name}.py"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One program and one description an export that has code."""
    stages = [stage for stage in plan.experiment.stages if stage.kind == KIND and stage.lowered]
    return tuple(artifact for stage in stages for artifact in _artifacts(plan.experiment, stage))


def description(experiment: ir.Experiment, work: ir.Export) -> dict[str, Any]:
    """Config, moves of tensors and, with modeling code of our own, the files of it beside the programs."""
    if work.module == "native":
        return {"config": dict(work.config or {}), "moves": [dict(move) for move in work.moves], "files": []}
    model = experiment.model
    files = [f"{modeling.FOLDER}/{name}" for name in modeling.FILES]
    return {"config": modeling.config(model), "moves": list(modeling.moves(model)), "files": files}


def _artifacts(experiment: ir.Experiment, stage: ir.Stage) -> tuple[Artifact, ...]:
    work, path = stage.work, program(experiment, stage)
    assert isinstance(work, ir.Export), f"{stage.name} does not export"
    (base,) = stage.after
    file = f"huggingface/{stage.name}.json"
    content = description(experiment, work)
    values = {
        "title": experiment.name,
        "notice": notice(),
        "program": path,
        "stage": stage.name,
        "base": base,
        "averaged": work.averaged,
        "file": file,
    }
    return (
        Artifact(path, templates.render("export/export.py.j2", values)),
        Artifact(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n"),
    )
