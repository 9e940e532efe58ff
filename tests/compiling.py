"""Compile small specs inside tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from specc import driver, ir
from specc.diagnostics.render import render
from tests.conftest import ROOT

TINY = ROOT / "specs/presets/tiny.yaml"


def planned(*sets: str, spec: Path = TINY) -> ir.Plan:
    """The plan of a spec with overrides; fails with the diagnostics when it has errors."""
    outcome = driver.check(spec, sets)
    assert outcome.plan is not None, render(outcome.diagnostics, outcome.texts, "full")
    return outcome.plan


def files(plan: ir.Plan) -> dict[str, str]:
    """Every emitted file by path."""
    return {artifact.path: artifact.text for artifact in driver.emit(plan)}


def module(text: str, folder: Path, name: str = "generated_model") -> ModuleType:
    """Generated Python as a module of its own."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    try:
        spec.loader.exec_module(loaded)
    finally:
        del sys.modules[name]
    return loaded


def model(folder: Path, *sets: str) -> ModuleType:
    """The generated `model.py` of the tiny spec with overrides."""
    return module(files(planned(*sets))["model.py"], folder)
