"""Which models have modeling code of ours for transformers: said once, for what writes it and for what asks for it."""

from __future__ import annotations

from specc.ir.model import Model


def unwritten(model: Model) -> str | None:
    """Why no such code stands beside the weights of a model; None where it does."""
    if model.family != "decoder":
        return "modeling code for transformers is written for decoders"
    if model.values.get("prediction"):
        return "modeling code for transformers does not predict further tokens, and this model has weights for it"
    if model.shares_blocks:
        return "modeling code for transformers gives every layer a block of its own, and this model's layers share them"
    if model.has_adapters:
        return "modeling code for transformers leaves adapters to PEFT, and this model has its own"
    if model.window == 1:
        # transformers 5.23, cache_utils.py, DynamicSlidingWindowLayer: the last `window - 1` are `[-0:]`, all of them.
        return "caches of transformers keep more of a window of 1 than is seen, and this model has one"
    return None
