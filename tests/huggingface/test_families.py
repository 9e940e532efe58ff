"""Each family against transformers: its defaults, its tensors, and its config there and back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from specc import huggingface
from specc.huggingface import FAMILIES, Family, Unspoken
from specc.huggingface.reading import NEUTRAL, complete
from tests.huggingface.cases import CASES, Case
from tests.huggingface.moving import to_ours, to_theirs
from tests.huggingface.small import saved

# What transformers writes for itself beside the keys of a class.
THEIR_OWN = {"transformers_version", "_name_or_path", "architectures", "dtype"}
ACTIVATION = ("hidden_act", "hidden_activation", "activation_function")
# Three spellings of the same approximation (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2).
ONE_FUNCTION = {"gelu_new": "gelu_pytorch_tanh", "gelu_fast": "gelu_pytorch_tanh"}


def config_of(case: Case) -> dict[str, Any]:
    """The config of a case with every key of its class, as transformers would save it."""
    config = CONFIG_MAPPING[case.model_type](**case.keywords).to_dict()
    return config if case.architecture is None else {**config, "architectures": [case.architecture]}


by_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@by_family
def test_the_defaults_are_those_of_transformers(family: Family) -> None:
    base = {field.name for field in dataclasses.fields(transformers.PretrainedConfig)}
    fields = dataclasses.fields(CONFIG_MAPPING[family.model_type])
    of_class = {
        field.name: field.default if field.default is not dataclasses.MISSING else field.default_factory()
        for field in fields
        if field.name not in base or field.name in family.defaults
    }
    assert dict(family.defaults) == of_class


@by_family
def test_every_key_is_read_or_known_to_change_nothing(family: Family) -> None:
    asked: set[str] = set()

    class Asked(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            asked.add(key)
            return super().__getitem__(key)

        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

    for case in (case for case in CASES if case.model_type == family.model_type):
        whole = Asked(complete(family, config_of(case)))
        family.read(whole)
        family.moves(whole)
    assert set(family.defaults) - asked - NEUTRAL - family.neutral - set(family.only) == set()


@by_family
def test_every_family_has_a_case(family: Family) -> None:
    assert any(case.model_type == family.model_type for case in CASES)


@by_case
def test_each_tensor_on_disk_is_moved_once_and_comes_back_bit_by_bit(case: Case, tmp_path: Path) -> None:
    config, tensors = saved(case, tmp_path)
    reading = huggingface.read(config)
    moved = [move.theirs for move in reading.moves]
    left = {name for name in tensors.keys() - set(moved) if not any(re.fullmatch(one, name) for one in reading.ignored)}
    assert sorted(moved) == sorted(tensors.keys() & set(moved)) and not left
    ours = to_ours(reading.moves, tensors)
    for name, tensor in to_theirs(reading.moves, ours).items():
        assert torch.equal(tensor, tensors[name]), name
    data = json.loads(json.dumps(huggingface.as_data(reading.moves)))
    assert tuple(huggingface.from_data(data)) == reading.moves


@by_case
def test_a_config_written_from_the_section_is_the_same_for_transformers(case: Case) -> None:
    theirs = config_of(case)
    written = huggingface.write(huggingface.read(theirs).model, case.model_type)
    again = CONFIG_MAPPING[case.model_type](**written).to_dict()
    family = huggingface.family(case.model_type)
    apart = NEUTRAL | family.neutral | THEIR_OWN
    assert _without(again, apart) == _without(theirs, apart)


@by_case
def test_a_key_that_nobody_knows_is_named(case: Case) -> None:
    config = {**config_of(case), "warp_factor": 9}
    with pytest.raises(Unspoken, match="warp_factor: 9"):
        huggingface.read(config)


def _without(config: Mapping[str, Any], keys: frozenset[str] | set[str]) -> dict[str, Any]:
    return {
        key: ONE_FUNCTION.get(value, value) if key in ACTIVATION else value
        for key, value in config.items()
        if key not in keys
    }
