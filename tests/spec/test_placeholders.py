"""`${env:NAME}` stands in paths only, and no identity depends on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc.driver import check
from tests.compiling import TINY, planned

PATH = "data.text.sources.files.path="
PRETRAINED = 'tokenizer={kind: pretrained, path: "${env:A}", vocab_size: 99, end_of_document: 1}'


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ('seed="${env:A}"', "SPC016"),
        ('name="${env:A}"', "SPC016"),
        ('stages.pretrain.duration="${env:A} steps"', "SPC016"),
        ('description="in ${python:stdlib}"', "SPC016"),
        (PRETRAINED, "SPC016"),
        (f'{PATH}"${{env:}}/x"', "SPC017"),
        (f'{PATH}"${{env:1A}}/x"', "SPC017"),
        (f'{PATH}"${{env:A/x"', "SPC017"),
        (f'{PATH}["ok/*", "${{foo:x}}/x"]', "SPC017"),
        ('extends="${env:NO_SUCH_VARIABLE_HERE}/x.yaml"', "SPC018"),
        ('extends="${bar}/x.yaml"', "SPC017"),
    ],
)
def test_a_placeholder_elsewhere_or_malformed_is_one_diagnostic(override: str, code: str) -> None:
    (found,) = check(TINY, (override,)).diagnostics
    assert found.code == code
    assert found.primary is not None
    assert found.primary.span.file == f"--set {override}"


def test_no_identity_depends_on_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "preset.yaml").write_text("extends: presets/tiny.yaml\n", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/preset.yaml").write_text("extends: presets/tiny.yaml\n", encoding="utf-8")
    spec = tmp_path / "spec.yaml"
    spec.write_text('extends: "${env:WHERE}/preset.yaml"\n', encoding="utf-8")
    told = []
    for where in (tmp_path, tmp_path / "other"):
        monkeypatch.setenv("WHERE", str(where))
        experiment = planned(PATH + '"${env:WHERE}/*.txt"', spec=spec).experiment
        told.append((experiment.identity, tuple(stage.key for stage in experiment.stages), experiment.settings))
        assert str(where) not in repr(experiment.settings)
    assert told[0] == told[1]
    (tmp_path / "other/preset.yaml").write_text("extends: presets/tiny.yaml\nseed: 9\n", encoding="utf-8")
    assert planned(spec=spec).experiment.identity != told[0][0]
