"""Optimizers without rules: what a rule may name, and what the optimizers of a stage extend."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field

from specc.ir.component import Component
from specc.spec.base import Node, identity, values_of

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class PlainAdamW(Node):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    kind: Literal["adamw"] = identity("The choice.")
    learning_rate: float = identity("Peak learning rate.", gt=0.0)
    betas: tuple[Beta, Beta] = identity("Decay of the first and second moment.", (0.9, 0.95))
    eps: float = identity("Added to the root of the second moment.", 1e-8, gt=0.0)
    weight_decay: float = identity("Decay of matrices; vectors are never decayed.", 0.1, ge=0.0)

    def settings(self, weight_decay: float | None = None) -> Component:
        """Two fp32 moments a parameter; a rule may give another decay."""
        own = _own(self, PlainAdamW)
        whole, line = "train/optimizer/adamw.py.j2", "train/optimizer/adamw_rule.py.j2"
        return _component(own, weight_decay, whole, {"rule_template": line, "state_bytes_per_parameter": 8})


class PlainMuon(Node):
    """Momentum with orthogonal steps (Jordan et al. 2024, kellerjordan.github.io/posts/muon; arXiv:2502.16982)."""

    kind: Literal["muon"] = identity("The choice.")
    learning_rate: float = identity("Peak learning rate.", gt=0.0)
    momentum: float = identity("Decay of the momentum.", 0.95, ge=0.0, lt=1.0)
    nesterov: bool = identity("Whether the gradient is added to the momentum once more.", True)
    newton_schulz_steps: int = identity("Iterations that make a step orthogonal.", 5, ge=1, le=99)
    weight_decay: float = identity("Decay of the matrices.", 0.1, ge=0.0)
    step_size: Literal["match_rms_adamw", "original"] = identity(
        "How a step grows with the matrix: 0.2 sqrt(longer side), as large as AdamW's, or sqrt(rows / columns).",
        "match_rms_adamw",
    )

    def settings(self, weight_decay: float | None = None) -> Component:
        """One fp32 momentum a parameter; a rule may give another decay."""
        own = _own(self, PlainMuon)
        line = "train/optimizer/muon_rule.py.j2"
        answers = {"rule_template": line, "state_bytes_per_parameter": 4, "matrices_only": True}
        return _component(own, weight_decay, None, answers)


RuleOptimizer = Annotated[PlainAdamW | PlainMuon, Discriminator("kind")]


def _own(node: Node, plain: type[Node]) -> dict[str, Any]:
    """The fields of a plain optimizer, without those that the optimizers of a stage add."""
    return {name: value for name, value in values_of(node).items() if name in plain.model_fields}


def _component(
    own: dict[str, Any], weight_decay: float | None, template: str | None, answers: dict[str, Any]
) -> Component:
    """`template` is of the function where one optimizer takes all, `rule_template` of its line in a table of rules."""
    fields = own if weight_decay is None else {**own, "weight_decay": weight_decay}
    values = {key: value for key, value in fields.items() if key != "kind"} | answers
    return Component(kind=f"optimizer/{own['kind']}", template=template, values=values, fields=fields)
