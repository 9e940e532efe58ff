"""`import.py`: weights from elsewhere as the first checkpoint of a stage."""

from __future__ import annotations

from specc import ir
from specc.backends import templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice

KIND = "import"


def program(experiment: ir.Experiment, stage: ir.Stage) -> str:
    """`import.py`, or `import_STAGE.py` where an experiment imports more than once."""
    only = sum(other.kind == KIND for other in experiment.stages) == 1
    return "import.py" if only else f"import_{stage.name}.py"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One program an import."""
    return tuple(_program(plan.experiment, stage) for stage in plan.experiment.stages if stage.kind == KIND)


def _program(experiment: ir.Experiment, stage: ir.Stage) -> Artifact:
    work, path = stage.work, program(experiment, stage)
    assert isinstance(work, ir.Import), f"{stage.name} does not import"
    values = {
        "title": experiment.name,
        "notice": notice(),
        "program": path,
        "stage": stage.name,
        "path": work.path,
        "sha256": work.sha256,
    }
    return Artifact(path, templates.render("import/import.py.j2", values))
