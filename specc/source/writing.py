"""Plain data as the text of a spec: YAML 1.2 that reads back equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from specc.source.scalars import resolve

_WIDTH = 100


def to_text(data: Mapping[str, Any]) -> str:
    """Short mappings and lists on one line, as a person writes them."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.2 reads as something else, which PyYAML, of YAML 1.1, does not know."""

    def ignore_aliases(self, data: Any) -> bool:
        """The same value twice is written twice."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if isinstance(resolve(value), str) else "'"
    if not value.replace("\n", "").isprintable():
        # Among them are characters that YAML takes for the end of a line.
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
