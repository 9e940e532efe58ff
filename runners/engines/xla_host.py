"""What the `xla` engine needs around it: the Python that has torch-xla, and what must be said before it is imported."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from runners.errors import RunError
from runners.layout import Layout

if TYPE_CHECKING:
    from runners.recipe import Pretraining

PYTHON = "SPECC_XLA_PYTHON"
"""Names a Python that has torch-xla."""
BESIDE = Path(".venv-xla/bin/python")
"""What `make xla` makes, seen from the working folder."""
PRECISIONS = ("fp32", "bf16")
_ENTERED = "SPECC_XLA_ENTERED"


def enter() -> None:
    """Go on in the Python that has torch-xla; return where it is this one. RunError when there is none.

    torch-xla goes with one version of PyTorch, older than the one that the other engines run on: it needs an
    environment of its own. The program begins anew there, in the same process.
    """
    python = interpreter()
    if python is not None:
        os.environ[_ENTERED] = python
        sys.stdout.flush()
        os.execv(python, [python, *sys.argv])


def interpreter() -> str | None:
    """Another Python that has torch-xla; None where this one has it. RunError when there is none."""
    if find_spec("torch_xla") is not None:
        return None
    if (tried := os.environ.get(_ENTERED)) is not None:
        raise RunError(f"{tried} has no torch-xla; {_setup()}")
    named = os.environ.get(PYTHON)
    if named is not None and not Path(named).is_file():
        raise RunError(f"{PYTHON} is {named}, and there is no such file; {_setup()}")
    if named is None and not BESIDE.is_file():
        raise RunError(f"engine `xla` needs torch-xla, and {sys.executable} has none; {_setup()}")
    return str(Path(named or BESIDE).absolute())


def prepare(layout: Layout) -> None:
    """Say what torch-xla reads from the environment when it is imported, where the user has not said it."""
    # Its compiler warns each time that its partitioner will be replaced by another one.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    has_tpu = find_spec("libtpu") is not None or "TPU_LIBRARY_PATH" in os.environ
    if not has_tpu and find_spec("libneuronxla") is None:
        os.environ.setdefault("PJRT_DEVICE", "CPU")
    # On a CPU the devices are parts of this process, as many as the plan has.
    os.environ.setdefault("CPU_NUM_DEVICES", str(layout.processes))


def refuse_unsupported(settings: Pretraining) -> None:
    """RunError for what this engine does not run."""
    if settings.precision not in PRECISIONS:
        raise RunError(f"engine `xla` runs {' or '.join(PRECISIONS)}, and the plan says {settings.precision}")
    if settings.compile:
        raise RunError(
            "engine `xla` compiles each step itself; torch.compile on it trains wrongly from the second step on"
        )
    if settings.activation_checkpointing == "selective":
        raise RunError("engine `xla` runs activation_checkpointing none or full, and the plan says selective")
    if settings.scoring is not None:
        raise RunError("engine `xla` scores no suites while it trains: each length of a text is another program")
    if settings.ema is not None:
        raise RunError("engine `xla` keeps no average of the weights, and the plan has one")
    if settings.auxiliary_loss is not None or settings.after_step:
        raise RunError("engine `xla` runs no experts: how many tokens an expert gets is another program each step")


def _setup() -> str:
    return (
        "`make xla` makes .venv-xla, as does `python3 -m venv .venv-xla && .venv-xla/bin/pip install "
        f"'specc[xla]'`; or set {PYTHON} to a Python that has it"
    )
