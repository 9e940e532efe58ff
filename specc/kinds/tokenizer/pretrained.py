"""A tokenizer that exists already."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.kinds.objective.place import NOTHING, Needs
from specc.kinds.tokenizer.chat import TEMPLATE, check_template
from specc.spec.base import Identifier, Node, identity


class Pretrained(Node):
    """The `tokenizer.json` of a directory (Wolf et al. 2020, arXiv:1910.03771, section 4: the tokenizers library)."""

    has_merges: ClassVar[bool] = True

    kind: Literal["pretrained"] = identity("The choice.")
    path: str = identity(
        "Directory, seen from the spec, or name on the hub: another tokenizer makes another experiment.", min_length=1
    )
    vocab_size: int = identity("Ids in use, special ones included.", ge=1)
    end_of_document: int = identity("Id that starts every document.", ge=0)
    sha256: str | None = identity("SHA-256 of its `tokenizer.json`: a run takes no other. `null` takes any.", None)
    chat_template: str = identity(TEMPLATE, "none")
    mask_token: int | None = identity("Id of the mask; `null` where it has none.", None, ge=0)
    sentinel_tokens: tuple[int, int] | None = identity(
        "First and last id of those that stand for hidden spans, T5's `[32099, 32000]`; `null` where it has none.", None
    )
    mode_tokens: dict[Identifier, int] = identity("Ids that name a denoiser, by its `mode`.", default_factory=dict)

    def check(self) -> Iterator[Finding]:
        """An id that is used has a number below the number of ids; a chat template exists."""
        used: list[tuple[int, tuple[str | int, ...]]] = [(self.end_of_document, ("end_of_document",))]
        used += [] if self.mask_token is None else [(self.mask_token, ("mask_token",))]
        used += [(token, ("sentinel_tokens", index)) for index, token in enumerate(self.sentinel_tokens or ())]
        used += [(token, ("mode_tokens", name)) for name, token in self.mode_tokens.items()]
        for token, key in used:
            if not 0 <= token < self.vocab_size:
                at = (At(("tokenizer", *key)), At(("tokenizer", "vocab_size")))
                yield Finding("SPC201", f"id {token:,} is not among {self.vocab_size:,} ids", at)
        yield from check_template(self.chat_template)

    def lower(self, needs: Needs = NOTHING) -> ir.Tokenizer:
        """What the spec declares; how many bytes a token holds only data can tell, nor which ids are text."""
        del needs
        first, last = self.sentinel_tokens or (None, None)
        counts_down = first is not None and last is not None and last < first
        special = ir.SpecialTokens(
            self.mask_token, first, -1 if counts_down else 1, self._sentinels(), dict(self.mode_tokens)
        )
        ids, end = self.vocab_size, self.end_of_document
        files = {"path": self.path, "sha256": self.sha256}
        return ir.Tokenizer(self.kind, ids, end, None, self.path, self.chat_template, special, ids, files)

    def lacks(self, needs: Needs) -> tuple[tuple[str, str], ...]:
        """What is needed and not declared: the key that would say it, and what is missing."""
        found = []
        if needs.mask and self.mask_token is None:
            found.append(("mask_token", "needs a mask, and the tokenizer declares none"))
        if needs.sentinels > self._sentinels():
            said = f"needs {needs.sentinels:,} sentinels, and the tokenizer declares {self._sentinels():,}"
            found.append(("sentinel_tokens", said))
        missing = [mode for mode in needs.modes if mode not in self.mode_tokens]
        if missing:
            found.append(("mode_tokens", f"needs a token for mode `{missing[0]}`, and the tokenizer declares none"))
        return tuple(found)

    def _sentinels(self) -> int:
        return 0 if self.sentinel_tokens is None else abs(self.sentinel_tokens[0] - self.sentinel_tokens[1]) + 1
