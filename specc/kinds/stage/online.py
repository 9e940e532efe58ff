"""What stages that learn from the model's own completions have in common."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Annotated, Any, ClassVar

from pydantic import Field

from specc import ir
from specc.diagnostics import At, Finding
from specc.kinds.reward import Reward
from specc.kinds.reward.exact_match import ExactMatch
from specc.kinds.reward.reward_model import RewardModel
from specc.kinds.stage.mention import Mention
from specc.kinds.stage.preference import ComparingStage
from specc.spec.base import identity, section

Rewards = Annotated[tuple[Reward, ...], Field(min_length=1)]


class OnlineStage(ComparingStage):
    """A stage that completes prompts, scores the completions, and makes the better ones likelier.

    The data set holds prompts; a sequence of the batch is one completion with its prompt. Tokens of a duration and of
    a batch are those of whole sequences, and an epoch is a pass over the prompts.
    """

    alone: ClassVar[str | None] = "prompt"

    prompt_length: int = identity("Tokens of a prompt at most; longer ones are cut at the left.", ge=1)
    completion_length: int = identity("Tokens generated after a prompt at most.", ge=1)
    kl: float = identity("Weight of the distance from the reference; 0 to go without one.", ge=0.0)
    rewards: Rewards = section("What scores a completion: the weighted sum of these.")
    temperature: float = identity("Temperature that completions are sampled at.", 1.0, gt=0.0)

    def sequence_length(self, context_length: int) -> int:
        """A prompt and its completion."""
        del context_length
        return self.prompt_length + self.completion_length

    def length_keys(self) -> tuple[tuple[str, ...], ...]:
        """Both lengths."""
        return (("prompt_length",), ("completion_length",))

    def data_per_sequence(self, length: int) -> Fraction:
        """The prompt, which comes from the data; one that several completions share is read once."""
        del length
        return Fraction(self.prompt_length, self.completions_of_a_prompt())

    def completions_of_a_prompt(self) -> int:
        """How many sequences of a batch have the same prompt."""
        return 1

    def derive_data_per_sequence(self, path: str, at: str, length: int) -> ir.Derivation:
        """The prompt, shared among its completions."""
        del length
        several = self.completions_of_a_prompt()
        inputs: tuple[ir.Input, ...] = (ir.Input("prompt_length", self.prompt_length, f"{at}.prompt_length"),)
        if several > 1:
            inputs = (*inputs, ir.Input("group_size", several, f"{at}.group_size"))
        formula = " / ".join(each.name for each in inputs)
        meaning = "Tokens of the data set in a sequence."
        return ir.Derivation(path, self.data_per_sequence(0), meaning, formula, inputs)

    def compares(self) -> bool:
        """Whether the distance from the reference plays a part."""
        return self.kl > 0.0

    def mentions(self) -> tuple[Mention, ...]:
        """The models of `from` and `reference`, and those that score."""
        scoring = (
            Mention(("rewards", index, "from"), reward.base, "reward")
            for index, reward in enumerate(self.rewards)
            if isinstance(reward, RewardModel)
        )
        return (*super().mentions(), *scoring)

    def check(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """What comparing stages check, and texts that are longer than the model was trained for."""
        yield from super().check(name, context_length, datasets)
        for index, reward in enumerate(self.rewards):
            if isinstance(reward, ExactMatch):
                yield from reward.check(("stages", name, "rewards", index))
        if self.prompt_length + self.completion_length <= context_length:
            return
        at = ("stages", name)
        needed = self.prompt_length + self.completion_length
        rest = context_length - self.prompt_length
        fits = f"`completion_length: {rest}`" if rest > 0 else f"`prompt_length: {context_length // 2}`"
        if rest <= 0 and self.completion_length > context_length - context_length // 2:
            fits = f"{fits} and `completion_length: {context_length - context_length // 2}`"
        yield Finding(
            "SPC504",
            f"prompt {self.prompt_length:,} + completion {self.completion_length:,} is longer than the context "
            f"{context_length:,}",
            (At((*at, "completion_length")), At((*at, "prompt_length")), At(("model", "context_length"))),
            (f"{self.prompt_length:,} + {self.completion_length:,} = {needed:,}",),
            help=f"use {fits}",
        )

    def options(self) -> dict[str, Any]:
        """What the kinds have in common, for the plan and the runners."""
        return {
            "prompt_length": self.prompt_length,
            "completion_length": self.completion_length,
            "kl": self.kl,
            "temperature": self.temperature,
            "rewards": tuple(reward.model_dump(mode="json", by_alias=True) for reward in self.rewards),
        }
