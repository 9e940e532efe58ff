"""The pages in docs/ tell the truth: what they show checks clean, and what they link is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specc.driver import check
from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
SPECS = [
    (page.name, block)
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    if block.startswith("extends:")
]


@pytest.mark.parametrize(("page", "spec"), SPECS)
def test_a_spec_that_is_shown_checks_clean(page: str, spec: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(spec, encoding="utf-8")
    outcome = check(tmp_path / "spec.yaml")
    assert not outcome.failed, [found.headline for found in outcome.diagnostics]


def test_the_names_of_the_sweep_that_is_shown_are_its_names(tmp_path: Path) -> None:
    text = (ROOT / "docs/language.md").read_text(encoding="utf-8")
    (spec,) = [block for _, block in SPECS if "sweep:" in block]
    (tmp_path / "spec.yaml").write_text(spec, encoding="utf-8")
    names = [plan.experiment.name for plan in check(tmp_path / "spec.yaml").plans]
    assert len(names) == 8
    assert any(f"`{name}`" in text for name in names), names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_linked_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).exists() for link in links)
