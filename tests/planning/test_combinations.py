"""The table of what engines combine: whole, and held to what its sources say."""

from specc.ir.experiment import Requested
from specc.planning.combinations import ENGINES, FEATURES, KEYS, REFUSALS, allows, features
from specc.planning.combinations_text import as_markdown
from specc.planning.traits import TRAITS
from tests.conftest import ROOT


def test_the_table_speaks_of_engines_and_features_that_exist():
    for cell in REFUSALS:
        assert cell.engine in ENGINES
        assert {cell.feature, cell.together} <= {*FEATURES, *(each.name for each in TRAITS), None}
        assert cell.reason
        assert cell.source
    assert set(KEYS) == set(FEATURES)
    assert not set(FEATURES) & {each.name for each in TRAITS}
    assert set(KEYS.values()) <= set(Requested.__dataclass_fields__)


def test_the_page_is_the_table():
    assert (ROOT / "docs/parallelism.md").read_text(encoding="utf-8").endswith(as_markdown())


def test_no_cell_stands_twice():
    cells = [(cell.engine, frozenset({cell.feature, cell.together})) for cell in REFUSALS]
    assert len(cells) == len(set(cells))


def test_what_was_measured_to_train_right_is_allowed():
    """Each of these matched one process with clipping active, DeepSpeed 0.19.8 and PyTorch 2.13."""
    for zero in (1, 2, 3):
        assert allows("deepspeed", ("data", "tensor", f"zero_{zero}"))
    assert allows("deepspeed", ("data", "pipeline", "zero_1"))
    for zero in (0, 2, 3):
        assert allows("torch", ("data", "tensor", "pipeline", f"zero_{zero}"))
        assert allows("torch", ("data", "context", f"zero_{zero}"))
    assert allows("torch", ("tensor", "sequence", "interleaving", "pipeline", "zero_2"))
    assert allows("xla", ("tensor", "zero_3"))


def test_zero_over_one_rank_uses_nothing_but_of_deepspeed():
    request = Requested(tensor_parallel_size=8, zero_stage=0)
    assert features("torch", request, 0, 1) == ("tensor",)
    assert features("deepspeed", request, 0, 1) == ("tensor", "zero_0")
