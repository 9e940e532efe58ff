"""A declarative spec compiler for language-model experiments. `docs/python.md` tells of these names."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specc.api import Outcome, Spec, SpecErrors, check, compile, load, plan, quantity  # noqa: A004

__all__ = ["Outcome", "Spec", "SpecErrors", "check", "compile", "load", "plan", "quantity"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loaded on first use: `import specc` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module `specc` has no attribute `{name}`")
    from specc import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
