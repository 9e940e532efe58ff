"""What stages ask of the family of the model, beside what their objectives say."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.kinds.head.masked_lm import MaskedLm
from specc.kinds.model.encoder import Encoder
from specc.spec.no_code import no_code
from specc.spec.spec import Spec


def check_families(spec: Spec) -> Iterator[Finding]:
    """Stages that need another sort of model, and a head that no stage trains."""
    for name, stage in spec.stages.items():
        if spec.model.kind not in stage.families:
            wanted = " or ".join(f"`{family}`" for family in stage.families)
            yield Finding(
                "SPC145",
                f"stage `{name}` of kind `{stage.kind}` needs a model of kind {wanted}, and this one is "
                f"`{spec.model.kind}`",
                (At(("stages", name, "kind")), At(("model", "kind"))),
                ("it writes on, or asks how likely a text is after another",),
                help="leave the stage out",
            )
        elif stage.kind == "pretrain" and stage.evaluation is not None and spec.model.kind != "decoder":
            yield Finding(
                "SPC145",
                f"the scores of stage `{name}` need a model of kind `decoder`, and this one is `{spec.model.kind}`",
                (At(("stages", name, "evaluation")), At(("model", "kind"))),
                ("they ask how likely a text is after another",),
                help="leave `evaluation` out",
            )
        elif stage.kind == "pretrain" and isinstance(spec.model, Encoder) and not isinstance(spec.model.head, MaskedLm):
            at = (At(("model", "head", "kind")), At(("stages", name, "kind")))
            what = f"training a head of kind `{spec.model.head.kind}`"
            yield no_code(what, at, "use `head: {kind: masked_lm}`")
