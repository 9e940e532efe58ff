import pytest
import torch
from torch import nn

from runners.errors import RunError
from runners.init import BLOCK, Normal, Ones, Zeros, draw, initialise

RULES = (("*.bias", Zeros()), ("norm.weight", Ones()), ("*", Normal(0.02)))


def network(order: tuple[str, ...]) -> nn.Module:
    made = {"wide": nn.Linear(700, 900), "norm": nn.LayerNorm(8, bias=False), "small": nn.Linear(3, 5)}
    return nn.ModuleDict({name: made[name] for name in order})


def test_weights_do_not_depend_on_the_order_of_modules() -> None:
    one, other = network(("wide", "norm", "small")), network(("small", "norm", "wide"))
    initialise(one, RULES, seed=3)
    initialise(other, RULES, seed=3)
    assert all(torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in one.state_dict())


def test_a_shard_draws_the_same_numbers_as_the_whole() -> None:
    total = 2 * BLOCK + 1000
    whole = draw(Normal(0.5), 3, "wide.weight", 0, total, total)
    for start, stop in [
        (0, 10),
        (BLOCK - 5, BLOCK + 5),
        (BLOCK, 2 * BLOCK),
        (2 * BLOCK + 999, total),
        (7, total),
        (4, 4),
    ]:
        assert torch.equal(draw(Normal(0.5), 3, "wide.weight", start, stop, total), whole[start:stop])


def test_blocks_names_and_seeds_differ_and_the_distribution_is_the_declared_one() -> None:
    total = 2 * BLOCK
    whole = draw(Normal(0.5), 3, "a", 0, total, total)
    assert not torch.equal(whole[:BLOCK], whole[BLOCK:])
    assert not torch.equal(whole, draw(Normal(0.5), 4, "a", 0, total, total))
    assert not torch.equal(whole, draw(Normal(0.5), 3 + 2**32, "a", 0, total, total))
    assert not torch.equal(whole, draw(Normal(0.5), 3, "b", 0, total, total))
    assert abs(whole.mean().item()) < 0.003
    assert whole.std().item() == pytest.approx(0.5, rel=0.01)


def test_the_first_numbers_never_change() -> None:
    """A pinned value: a change here makes every earlier run irreproducible."""
    assert draw(Normal(1.0), 1234, "embedding.weight", 0, 3, 3).tolist() == pytest.approx(PINNED, abs=1e-7)


PINNED = [0.6355208158493042, 1.2099019289016724, -0.2894805073738098]


def test_a_weight_without_a_rule_is_an_error() -> None:
    with pytest.raises(RunError, match=r"no rule matches the weight `wide.weight`"):
        initialise(network(("wide",)), (("*.bias", Zeros()),), seed=3)


def test_a_rule_that_fills_nothing_is_an_error() -> None:
    with pytest.raises(RunError, match=r"no weight is initialised by the rule `\*.gate`"):
        initialise(network(("wide",)), (("*.gate", Ones()), *RULES[:1], *RULES[2:]), seed=3)
