"""The JSON Schema says what specc says: asked of jsonschema, which knows nothing of specc."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from specc.reference.json_schema import as_text, part, schema
from specc.reference.sections import language
from specc.source import SpecErrors, read_text
from specc.source.reader import parse as parse_text
from specc.source.tree import to_data
from specc.source.writing import to_text
from specc.spec.parse import parse
from tests.conftest import ROOT, Specc

SPECS = ROOT / "specs"
SHIPPED = sorted(SPECS.rglob("*.yaml"))
SCHEMA = json.loads((SPECS / "specc.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
# A file without the version of the language is a part of a spec, and what it extends may have what it lacks.
TEXTS = {path: path.read_text(encoding="utf-8") for path in SHIPPED}
WHOLE = [path for path, text in TEXTS.items() if "\nspecc:" in text and "\nextends:" not in text]
QUICKSTART = SPECS / "quickstart.yaml"
EVERYTHING = Path(__file__).with_name("everything.yaml")
Path_ = tuple[str | int, ...]


def data_of(path: Path) -> Any:
    """A file as an editor's parser gives it: lists, and `extends` as it stands."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return plain(to_data(parse_text(path.read_text(encoding="utf-8"), path.name)))


def specc_accepts(data: Any) -> bool:
    """Whether the data is a legal spec: keys, types, kinds and limits, and not yet what fits together."""
    try:
        parse(read_text(to_text(data), "spec.yaml", SPECS))
    except SpecErrors:
        return False
    return True


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every key and every item below a value."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


def changed(data: Any, path: Path_, change: str) -> Any:
    """A copy with one place deleted, misspelt or given a value of another type."""
    whole = copy.deepcopy(data)
    holder = whole
    for step in path[:-1]:
        holder = holder[step]
    if change == "delete":
        del holder[path[-1]]
    elif change == "misspell":
        value = holder.pop(path[-1])
        holder[f"{path[-1]}z"] = value
    else:
        holder[path[-1]] = json.loads(change)
    return whole


def test_the_committed_schemas_are_what_the_language_says() -> None:
    found = language()
    for path, fresh in {"specc": schema(found), "clusters/cluster": part(found, ("cluster",))}.items():
        assert fresh is not None
        committed = (SPECS / f"{path}.schema.json").read_text(encoding="utf-8")
        assert committed == as_text(fresh), "run `make generated`"


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(SPECS).as_posix())
def test_every_shipped_file_names_a_schema_and_is_valid_under_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None, "the first line tells editors of the schema"

    def found(name: str) -> Any:
        return json.loads((path.parent / name).read_text(encoding="utf-8"))

    # The schema of presets is a part of that of specs.
    others: Registry[Any] = Registry(retrieve=lambda name: Resource.from_contents(found(name)))
    validator = Draft202012Validator(found(named[1]), registry=others)
    assert [error.message for error in validator.iter_errors(data_of(path))] == []


WRONG = ("null", "true", "12345", "-1", "0.5", '"?!"', "[[1]]", '{"kind": "?"}')


@pytest.mark.parametrize(
    ("path", "change"),
    [
        *((QUICKSTART, change) for change in ("delete", "misspell", *WRONG)),
        *((EVERYTHING, change) for change in ("delete", "misspell", '"?!"')),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_specc_and_an_independent_validator_agree_on_every_broken_key(path: Path, change: str) -> None:
    data = data_of(path)
    assert VALIDATOR.is_valid(data)
    assert specc_accepts(data)
    refused = 0
    for place in places(data):
        if isinstance(place[-1], int) and change == "misspell":
            continue
        broken = changed(data, place, change)
        valid = VALIDATOR.is_valid(broken)
        assert valid == specc_accepts(broken), f"{change} at {'.'.join(map(str, place))}"
        refused += not valid
    assert refused > 10


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_a_key_that_is_missing_or_misspelt_is_refused_unless_a_preset_may_have_it(path: Path) -> None:
    data = data_of(path)
    names = set(SCHEMA["$defs"]["spec"]["properties"]) - {"extends"}
    required = SCHEMA["$defs"]["needs.spec"]["then"]["required"]
    assert set(required) < names
    for key in names & set(data):
        assert not VALIDATOR.is_valid(changed(data, (key,), "misspell"))
        assert VALIDATOR.is_valid(changed(data, (key,), "delete")) == (key not in required)
    partial = {"extends": "presets/tiny.yaml", **data}
    for key in required:
        assert VALIDATOR.is_valid(changed(partial, (key,), "delete"))


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("extends: presets/tiny.yaml", True),
        ("extends: [presets/tiny.yaml]\nmodel: {num_layers: 3}", True),
        ("extends: presets/tiny.yaml\nmodel: {num_layer: 3}", False),
        ("extends: presets/tiny.yaml\nmodel: {attention: {num_heads: 8}}", True),
        ("extends: presets/tiny.yaml\nmodel: {attention: {num_head: 8}}", False),
        ("extends: presets/tiny.yaml\nstages: {pretrain: {duration: 5 steps}}", True),
        ("extends: presets/tiny.yaml\nstages: {pretrain: {duration: 5}}", False),
        ("extends: presets/tiny.yaml\nstages: {pre-train: {duration: 5 steps}}", False),
        ("extends: 5", False),
        ("specc: 1", False),
    ],
)
def test_below_a_preset_keys_may_be_left_out_and_not_misspelt(text: str, valid: bool) -> None:
    data = json.loads(json.dumps(to_data(parse_text(text, "x"))))
    assert VALIDATOR.is_valid(data) == valid
    assert specc_accepts(data) == valid


def test_a_section_that_extends_may_lack_what_the_others_need() -> None:
    data = data_of(SPECS / "presets/tiny.yaml")
    del data["model"]["hidden_size"]
    assert not VALIDATOR.is_valid(data)
    data["model"]["extends"] = "models/tiny.yaml"
    assert VALIDATOR.is_valid(data)
    del data["seed"]
    assert not VALIDATOR.is_valid(data)


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, definition in SCHEMA["$defs"].items():
        if not name.startswith("needs."):
            for key, found in definition["properties"].items():
                yield f"{name}: {key}", found


PROPERTIES = dict(properties())


def test_every_key_is_described_in_plain_text_and_in_markdown() -> None:
    for name, found in PROPERTIES.items():
        assert found["description"].rstrip().endswith("."), name
        options = found.get("oneOf")
        # The word `kind` of a choice is described word by word.
        assert "markdownDescription" in found or all("markdownDescription" in word for word in options), name
        assert "x-class" in found or options, name


def test_every_example_and_every_default_is_valid() -> None:
    for name, found in PROPERTIES.items():
        alone = Draft202012Validator({**found, "$defs": SCHEMA["$defs"]})
        values = [*found.get("examples", ()), *([found["default"]] if "default" in found else ())]
        for value in values:
            assert alone.is_valid(value), f"{name}: {value}"


def test_every_quantity_has_an_example() -> None:
    quantities = [name for name, found in PROPERTIES.items() if "x-units" in found]
    assert len(quantities) > 10
    assert all(PROPERTIES[name]["examples"] for name in quantities)


def test_every_kind_has_its_definition_and_its_source() -> None:
    for name, kinds in language().sets.items():
        words = SCHEMA["$defs"][name]["properties"]["kind"]["oneOf"]
        assert [word["const"] for word in words] == [kind.partition(".")[2] for kind in kinds]
        assert [word["description"] for word in words] == [SCHEMA["$defs"][kind]["description"] for kind in kinds]


def test_the_schema_of_a_part_is_asked_for_by_path(specc: Specc) -> None:
    found = json.loads(specc("schema", "--of", "stages.x.optimizer").out)
    optimizer = Draft202012Validator(found)
    assert optimizer.is_valid({"kind": "adamw", "weight_decay": 0.1})
    assert not optimizer.is_valid({"kind": "adamw", "weight_decoy": 0.1})
    assert "cluster" not in found["$defs"]
    for path in ("model.num_layers", "nothing", "stages.x.nothing"):
        said = specc("schema", "--of", path)
        assert (said.code, said.out) == (1, "")
        assert f"error: the language has no section `{path}`" in said.err


def test_the_command_writes_the_committed_file(specc: Specc, tmp_path: Path) -> None:
    assert specc("schema").out == (SPECS / "specc.schema.json").read_text(encoding="utf-8")
    specc("schema", "-o", "new/specc.schema.json")
    assert json.loads((tmp_path / "new/specc.schema.json").read_text(encoding="utf-8")) == SCHEMA


@pytest.mark.parametrize(
    ("source", "valid"),
    [
        ({"path": "a"}, True),
        ({"kind": "files", "path": "a"}, True),
        ({"path": "a", "dtype": "uint16"}, False),
        ({"dataset": "a/b"}, False),
        ({"kind": "huggingface", "dataset": "a/b"}, True),
        ({"kind": None, "path": "a"}, False),
        ({}, False),
    ],
)
def test_a_source_without_a_kind_is_of_files(source: dict[str, str | None], valid: bool) -> None:
    data = data_of(QUICKSTART)
    data["data"]["stdlib"]["sources"] = {"python": source}
    assert VALIDATOR.is_valid(data) == valid
    assert specc_accepts(data) == valid
