"""Reads the compiled plan that a program stands in."""

from __future__ import annotations

from pathlib import Path

from runners.errors import RunError
from specc import manifest as manifests
from specc.manifest import Manifest


def read_manifest(plan: Path) -> Manifest:
    """The manifest beside the generated code; RunError when it is missing or of another version."""
    try:
        return manifests.read(plan)
    except FileNotFoundError:
        raise RunError(f"{plan} holds no {manifests.FILE}; compile the spec again") from None
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{plan / manifests.FILE} cannot be read: {error}; compile the spec again") from None
