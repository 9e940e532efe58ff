"""The generated model as lm-eval sees it. Imports lm_eval, which takes seconds: import this module late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows
from torch import Tensor, nn

from runners import chat
from runners.errors import RunError
from runners.sampling import generate
from runners.tokenizer import Tokenizer

MAX_NEW_TOKENS = 256
"""For tasks that set no `max_gen_toks`; the default of lm-eval's own Hugging Face model."""


@dataclass(frozen=True)
class Scored:
    """What is asked of the model: the probability of `target` after `context`, both token ids."""

    context: Sequence[int]
    target: Sequence[int]


class GeneratedModel(LM):  # type: ignore[misc]
    """A generated model and its tokenizer behind the interface of lm-eval.

    Every text stands at the beginning of a document: the end-of-document token is put before it, as in training.
    """

    def __init__(
        self,
        model: nn.Module,
        cache: type[Any],
        text: Tokenizer,
        batch_size: int,
        max_length: int,
        report: Callable[[int, int], None],
        template: str = "none",
    ) -> None:
        """`report(done, total)` is told about the progress of each kind of request, in sequences.

        `template` is how the turns of a chat are written, where lm-eval is asked to write prompts so.
        """
        super().__init__()
        self.model, self.cache, self.text = model.eval(), cache, text
        self.batch_size, self.max_length, self.report = batch_size, max_length, report
        self.place = next(model.parameters()).device
        self.template = template

    @property
    def tokenizer_name(self) -> str:
        """What prompts depend on, for lm-eval's record of them."""
        return f"{type(self.text).__name__}:{self.template}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The name of the template, for lm-eval's record."""
        return self.template if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Turns as text, with the beginning of the assistant's answer."""
        return chat.write(self.template, chat_history, answer=add_generation_prompt)

    def loglikelihood(self, requests: list[Instance], **_: Any) -> list[tuple[float, bool]]:
        """Log-probability of each continuation (nats), and whether it is what greedy decoding would write.

        What does not fit into the context length is cut off at the left.
        """
        pairs = [self._fitted(*request.args) for request in requests]
        return self._score(pairs)

    def loglikelihood_rolling(self, requests: list[Instance], **_: Any) -> list[float]:
        """Log-probability of each whole text (nats): windows as lm-eval's own models cut them, each token once."""
        windows: list[Scored] = []
        counts = []
        for request in requests:
            ids = self.text.encode(request.args[0])
            cut = get_rolling_token_windows(ids, self.text.end_of_document, self.max_length, 1)
            new = [Scored(given[: len(given) - len(target) + 1], target) for given, target in cut]
            windows += new
            counts.append(len(new))
        scores = iter(self._score(windows))
        return [sum(next(scores)[0] for _ in range(count)) for count in counts]

    def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
        """Greedy text after each context, up to a stop string or the end of the document."""
        return [self._generate(index, len(requests), *request.args) for index, request in enumerate(requests)]

    def _fitted(self, context: str, continuation: str) -> Scored:
        before, after = self.text.split(context, continuation)
        target = after[-self.max_length :]
        given = [self.text.end_of_document, *before]
        return Scored(given[-(self.max_length + 1 - len(target)) :], target)

    def _score(self, pairs: Sequence[Scored]) -> list[tuple[float, bool]]:
        """Scores in the order of `pairs`; the longest run first, so that a batch holds little padding."""
        order = sorted(range(len(pairs)), key=lambda at: -len(pairs[at].context) - len(pairs[at].target))
        scores: dict[int, tuple[float, bool]] = {}
        for first in range(0, len(order), self.batch_size):
            chosen = order[first : first + self.batch_size]
            scores |= dict(zip(chosen, self._score_batch([pairs[at] for at in chosen]), strict=True))
            self.report(len(scores), len(pairs))
        return [scores[at] for at in range(len(pairs))]

    @torch.no_grad()
    def _score_batch(self, pairs: Sequence[Scored]) -> list[tuple[float, bool]]:
        """Scores of up to `batch_size` pairs. Padding stands at the right, where a causal model does not see it."""
        rows = [[*pair.context, *pair.target] for pair in pairs]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.place)
        logits = self.model(ids[:, :-1]).float()
        # ids that were never trained take part in the sum, as they do in training
        log_probabilities = torch.log_softmax(logits, dim=-1)
        chosen = log_probabilities.gather(2, ids[:, 1:, None]).squeeze(2).double().cpu()
        greedy = (logits.argmax(dim=-1) == ids[:, 1:]).cpu()
        return [_read(pair, chosen[row], greedy[row]) for row, pair in enumerate(pairs)]

    def _generate(self, index: int, total: int, context: str, options: dict[str, Any]) -> str:
        if options.get("do_sample") and float(options.get("temperature", 1.0)) > 0.0:
            raise RunError("this version generates greedily, and the task asks for sampling")
        count = min(int(options.get("max_gen_toks", MAX_NEW_TOKENS)), self.max_length - 1)
        until = options.get("until") or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        ids = [self.text.end_of_document, *self.text.encode(context)][-(self.max_length - count) :]
        prompt = torch.tensor([ids], device=self.place)
        written = generate(self.model, self.cache, prompt, count, stop=lambda tokens: self._ended(tokens, stops))
        self.report(index + 1, total)
        text = self.text.decode(_until(written[0].tolist(), self.text.ends))
        cuts = [at for stop in stops if (at := text.find(stop)) >= 0]
        return text[: min(cuts, default=len(text))]

    def _ended(self, tokens: Tensor, stops: Sequence[str]) -> bool:
        """Whether the last token ends the text, or completes a stop string, which has no more tokens than bytes."""
        longest = max((len(stop.encode("utf-8")) for stop in stops), default=0)
        tail = tokens[0, -(longest + 1) :].tolist()
        return tail[-1] in self.text.ends or any(stop in self.text.decode(tail) for stop in stops)


def _read(pair: Scored, chosen: Tensor, greedy: Tensor) -> tuple[float, bool]:
    """Sum over the target's positions of one row."""
    first = len(pair.context) - 1
    last = first + len(pair.target)
    return float(chosen[first:last].sum()), bool(greedy[first:last].all())


def _until(ids: Sequence[int], ends: frozenset[int]) -> Sequence[int]:
    first = next((at for at, token in enumerate(ids) if token in ends), len(ids))
    return ids[:first]
