"""Where the files lie that a spec names: seen from the spec, wherever the run was started."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "SPECC_SPEC_FOLDER"
"""The folder of the spec, as `specc run` says it. A plan cannot say it: the same spec gives the same plan anywhere."""


def spec_folder() -> Path:
    """Where paths of the spec are seen from."""
    return Path(os.environ.get(FOLDER, ".")).resolve()


def beside_spec(path: str) -> Path:
    """A path of the spec, seen from the spec's folder, or from the working one where that is unknown."""
    return spec_folder() / Path(path).expanduser()
