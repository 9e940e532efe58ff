"""Every decoder that can be read becomes a spec that checks, and goes back under the names that it had."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc import driver, huggingface
from specc.canonical import format_text
from specc.importing import Weights, compose, read_checkpoint
from specc.native import describe
from specc.source import read_text
from specc.spec.base import values_of
from specc.spec.defaults import defaulted
from tests.huggingface.cases import CASES, Case
from tests.huggingface.small import built

WEIGHTS = Weights("0" * 64, 1, 1, ("float32",))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_decoder_becomes_a_spec_and_is_described_as_it_was(case: Case, tmp_path: Path) -> None:
    model = built(case)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(tmp_path)
    found = read_checkpoint(tmp_path, None)
    if found.reading.model["kind"] != "decoder":
        pytest.skip("encoders are no decoders")
    text = compose(found, "it", WEIGHTS)
    assert format_text(text, "spec.yaml") == text
    outcome = driver.check_source(read_text(text, "spec.yaml", tmp_path))
    assert not outcome.failed, [one.headline for one in outcome.diagnostics]
    assert outcome.plan is not None
    assert outcome.spec is not None
    weights = {weight.name for weight in outcome.plan.experiment.model.weights()}
    assert weights <= {name for move in found.reading.moves for name in move.ours}
    written = outcome.spec.model
    rows = outcome.plan.experiment.model.vocab_size
    described = describe(values_of(written, list), set(defaulted(written)), rows, found.reading.family)
    assert list(described.moves) == huggingface.as_data(found.reading.moves)
