"""The Python way in: the same experiment as from YAML, and errors that a person can read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import specc
from specc.kinds.attention.gqa import Gqa
from specc.source.reader import parse
from specc.source.tree import to_data
from specc.source.writing import to_text
from tests.compiling import files
from tests.conftest import ROOT

SPECS = sorted((*(ROOT / "specs").glob("*.yaml"), ROOT / "specs/presets/tiny.yaml"))
DOC = (ROOT / "docs/python.md").read_text(encoding="utf-8")


def as_python(path: Path) -> dict[str, Any]:
    """A spec as the dicts and lists that a person would write in Python."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    found = plain(to_data(parse(path.read_text(encoding="utf-8"), path.name)))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_built_in_python_compiles_to_the_same_bytes(path: Path) -> None:
    assert files(specc.plan(specc.Spec(**as_python(path)))) == files(specc.plan(path))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_that_was_loaded_may_be_taken_apart_and_built_again(path: Path) -> None:
    loaded = specc.load(path)
    again = specc.Spec(**{name: getattr(loaded, name) for name in loaded.model_fields_set})
    assert specc.plan(again).experiment.identity == specc.plan(loaded).experiment.identity


def test_compiling_writes_the_folder_that_the_command_writes(tmp_path: Path) -> None:
    folder = specc.compile(ROOT / "specs/presets/tiny.yaml", out=tmp_path)
    written = {
        path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()
    }
    assert written == files(specc.plan(ROOT / "specs/presets/tiny.yaml"))


def test_findings_of_a_loaded_spec_point_into_its_file() -> None:
    spec = specc.load(ROOT / "specs/presets/tiny.yaml", ("model.attention.num_kv_heads=3",))
    (found,) = specc.check(spec).diagnostics
    assert [label.span.file for label in found.labels] == [
        "--set model.attention.num_kv_heads=3",
        (ROOT / "specs/presets/tiny.yaml").as_posix(),
    ]


def test_findings_of_a_changed_copy_quote_what_it_says_now() -> None:
    copy = specc.load(ROOT / "specs/presets/tiny.yaml").model_copy(update={"seed": -4})
    outcome = specc.check(copy)
    assert outcome.failed
    (found,) = outcome.diagnostics
    assert found.primary is not None
    assert outcome.texts[found.primary.span.file].splitlines()[found.primary.span.line - 1] == "seed: -4"


def test_errors_print_as_the_command_shows_them() -> None:
    with pytest.raises(specc.SpecErrors) as caught:
        specc.Spec(
            extends="presets/tiny.yaml", model={"hiden_size": 128, "attention": Gqa(num_heads=4, num_kv_heads=2)}
        )
    assert str(caught.value) == (
        "error[SPC003]: `model` of kind `decoder` has no key `hiden_size`\n"
        " --> <python>:3:3\n"
        "  |\n"
        "3 |   hiden_size: 128\n"
        "  |   ^^^^^^^^^^\n"
        "  |\n"
        "  = help: did you mean `hidden_size`?"
    )


def test_a_file_that_is_not_there_is_an_outcome_of_check_and_an_error_of_load() -> None:
    assert specc.check("nowhere.yaml").failed
    with pytest.raises(specc.SpecErrors, match="there is no such file"):
        specc.load("nowhere.yaml")


def test_what_yaml_cannot_say_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="is no value of a spec"):
        specc.Spec(extends="presets/tiny.yaml", seed={1, 2})


def test_the_kind_of_a_kind_may_be_left_out_in_python_alone() -> None:
    assert Gqa(num_heads=4, num_kv_heads=2) == Gqa(kind="gqa", num_heads=4, num_kv_heads=2)
    model = {"optimizer": {"learning_rate": 1e-3}}
    with pytest.raises(specc.SpecErrors, match="SPC005"):
        specc.Spec(**{**as_python(ROOT / "specs/presets/tiny.yaml"), "stages": {"p": {"kind": "pretrain", **model}}})


def test_importing_specc_loads_nothing_and_offers_what_it_says() -> None:
    probe = "import sys, specc; print('pydantic' in sys.modules, 'yaml' in sys.modules, 'click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "False False False\n"
    assert all(getattr(specc, name) is not None for name in specc.__all__)
    assert set(specc.__all__) <= set(dir(specc))
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        specc.nothing  # noqa: B018


def test_the_documented_names_are_the_public_ones() -> None:
    assert set(re.findall(r"^\| `specc\.(\w+)", DOC, re.MULTILINE)) == set(specc.__all__)


def test_the_documented_examples_run_and_print_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    program = "\n".join(re.findall(r"```python\n(.*?)```", DOC, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"print\(.*\)  # (.+)", program)
    assert said
    assert all(line in done.stdout for line in said), done.stdout


SCALARS = st.one_of(
    st.text(max_size=12), st.integers(-(10**6), 10**6), st.booleans(), st.none(), st.floats(allow_nan=False)
)
WORDS = st.sampled_from(
    ["yes", "1e5", "0o7", "12:30", "~", "null", "=", "<<", "2001-01-01", ".inf", "a: b", "- x", "'", "#"]
)
VALUES = st.recursive(
    SCALARS | WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)


@given(st.dictionaries(st.text("abc_", min_size=1, max_size=5), VALUES, min_size=1, max_size=4))
def test_text_that_is_written_reads_back_equal(data: dict[str, Any]) -> None:
    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(item) for key, item in value.items()}
        return tuple(tuples(item) for item in value) if isinstance(value, list) else value

    try:
        text = to_text(data)
        yaml.compose(text)
    except yaml.YAMLError:
        # Characters that YAML has no place for.
        return
    assert to_data(parse(text, "x")) == tuples(data)


@pytest.mark.slow
def test_a_program_of_a_user_passes_mypy_strict(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import specc\n"
        "from specc.kinds.attention.gqa import Gqa\n"
        "spec: specc.Spec = specc.load('x.yaml', ('model.num_layers=4',))\n"
        "built = specc.Spec(extends='presets/tiny.yaml', model={'attention': Gqa(num_heads=4, num_kv_heads=2)})\n"
        "outcome: specc.Outcome = specc.check(built)\n"
        "bits: int = specc.plan(spec).experiment.model.parameters\n"
        "folder = specc.compile(spec, out='generated')\n"
        "print(folder / 'model.py', outcome.failed, spec.seed + bits, [d.code for d in outcome.diagnostics])\n"
        "specc.load(3)  # type: ignore[arg-type]\n",
        encoding="utf-8",
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--warn-unused-ignores",
        "--follow-imports=silent",
        str(program),
    ]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
