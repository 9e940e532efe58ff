"""`model.py`: the architecture as one file of PyTorch."""

from __future__ import annotations

from specc import ir
from specc.backends import templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice

PATH = "model.py"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One file, the parts in the order of use."""
    model = plan.experiment.model
    layer = model.layers[0]
    attention, ffn = layer.part("attention"), layer.part("ffn")
    position = templates.macros(_template(model.position), model.position.values)
    values = {
        "title": plan.experiment.name,
        "notice": notice(),
        "family": model.family,
        "parameters": f"{model.parameters:,}",
        "dimensions": model.dimensions,
        "kv": attention.values["kv"],
        "position": position,
        "norm": templates.render(_template(model.norm), model.norm.values),
        "norm_module": model.norm.values["module"],
        "attention": templates.render(_template(attention), {**attention.values, "position": position}),
        "ffn": templates.render(_template(ffn), ffn.values),
        "head": templates.macros(_template(model.head), {}),
    }
    return (Artifact(PATH, templates.render("model/model.py.j2", values)),)


def _template(component: ir.Component) -> str:
    assert component.template is not None, f"{component.kind} renders nothing"
    return component.template
