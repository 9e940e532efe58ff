"""Which stages a stage builds on."""

from __future__ import annotations

from specc.kinds.stage.mention import MODELS
from specc.spec.spec import Spec


def upstream(spec: Spec, name: str) -> tuple[str, ...]:
    """Stages whose models a stage reads, each once."""
    mentions = spec.stages[name].mentions()
    named = (mention.name for mention in mentions if mention.sought in MODELS and mention.name in spec.stages)
    return tuple(dict.fromkeys(named))


def lineage(spec: Spec, name: str) -> tuple[str, ...]:
    """A stage that trains and those its weights went through before, the last first; of a spec without cycles."""
    found = [name]
    while bases := [mention.name for mention in spec.stages[found[-1]].mentions() if mention.path == ("from",)]:
        found += bases
    return tuple(found)
