"""Attention over sequences that are divided among ranks, whose keys and values go round.

Ring attention (Liu et al. 2023, arXiv:2310.01889): each rank keeps the queries of its tokens, and as keys and values of
one rank after another come by, the shares of their blocks are merged by running maxima and sums (Milakov and
Gimelshein 2018, arXiv:1805.02867). No head is divided, so there may be more ranks than heads.

A rank has two chunks of a sequence that is cut into two for each rank: one from its beginning and one from its end, so
that all ranks have as many pairs of queries and keys before them (Llama Team 2024, arXiv:2407.21783, section 3.3.2).

Blocks are plain matrix products in fp32, and no fused kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from runners.errors import RunError

NEVER = float("-inf")
Chunk = tuple[int, slice]
"""Its number in the sequence, and where a rank has it."""


def own_chunks(rank: int, ranks: int) -> tuple[int, int]:
    """Which two of 2 x `ranks` chunks of a sequence a rank has."""
    return rank, 2 * ranks - 1 - rank


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, group: dist.ProcessGroup) -> Tensor:
    """Attention of this rank's queries [B, N, T', H] over the whole sequence, whose other parts other ranks have.

    k and v are [B, K, T', H] each, K dividing N. `bias` is added to the scores, [..., T', T] in the order of the whole
    sequence; None is causal attention.
    """
    out: Tensor = cast("Any", _Ring).apply(q, k, v, bias, scale, group)
    return out


class Functional:
    """`torch.nn.functional` as a model's program sees it, with attention that goes round."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group

    def __getattr__(self, name: str) -> Any:
        return getattr(functional, name)

    def scaled_dot_product_attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Causal attention, or with a mask of this rank's rows; RunError for dropout."""
        del enable_gqa
        if dropout_p or (attn_mask is None and not is_causal):
            raise RunError("ring attention is causal, or has a mask, and drops no shares")
        if torch.is_autocast_enabled(q.device.type):
            kind = torch.get_autocast_dtype(q.device.type)
            q, k, v = q.to(kind), k.to(kind), v.to(kind)
        return attend(q, k, v, attn_mask, q.shape[-1] ** -0.5 if scale is None else scale, self._group)


@dataclass(frozen=True)
class _Pass:
    """What comes by in one step, as blocks of this rank's queries and the keys of the rank it is from."""

    bias: Tensor | None
    length: int
    """Tokens that each rank has."""
    rank: int
    ranks: int
    device: torch.device

    def blocks(self, source: int) -> Iterator[tuple[slice, slice, Tensor | None]]:
        """Queries, keys, and what is added to their scores. Blocks that a causal mask hides are left out."""
        for query, rows in self._chunks(self.rank):
            for key, columns in self._chunks(source):
                if self.bias is not None:
                    here = slice(key * (self.length // 2), (key + 1) * (self.length // 2))
                    yield rows, columns, self.bias[..., rows, here]
                elif query > key:
                    yield rows, columns, None
                elif query == key:
                    yield rows, columns, _causal(self.length // 2, self.device)

    def _chunks(self, rank: int) -> tuple[Chunk, Chunk]:
        half = self.length // 2
        early, late = own_chunks(rank, self.ranks)
        return (early, slice(0, half)), (late, slice(half, self.length))


class _Ring(torch.autograd.Function):
    """Forward and backward, one round each."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, group: dist.ProcessGroup
    ) -> Tensor:
        way = _Pass(bias, q.shape[2], group.rank(), group.size(), q.device)
        queries = q.float() * scale
        out = queries.new_zeros(*q.shape[:3], v.shape[3])
        most, total = queries.new_full(q.shape[:3], NEVER), queries.new_zeros(q.shape[:3])
        here = [k.contiguous(), v.contiguous()]
        for step in range(group.size()):
            keys, values = (_for_each_query(x, q.shape[1]) for x in here)
            for rows, columns, added in way.blocks((group.rank() - step) % group.size()):
                scores = _scores(queries[:, :, rows], keys[:, :, columns], added)
                largest = torch.maximum(most[:, :, rows], scores.amax(dim=-1))
                # A row that has seen nothing yet has no maximum to subtract.
                base = largest.masked_fill(largest == NEVER, 0.0)
                shares, kept = (scores - base[..., None]).exp(), (most[:, :, rows] - base).exp()
                out[:, :, rows] = out[:, :, rows] * kept[..., None] + shares @ values[:, :, columns]
                total[:, :, rows] = total[:, :, rows] * kept + shares.sum(dim=-1)
                most[:, :, rows] = largest
            if step < group.size() - 1:
                here = _passed_on(here, group)
        out /= total[..., None]
        ctx.save_for_backward(q, k, v, bias, out, most + total.log())
        ctx.scale, ctx.group = scale, group
        return out.to(v.dtype)

    @staticmethod
    def backward(ctx: Any, made: Tensor) -> Any:
        q, k, v, bias, out, logs = ctx.saved_tensors
        group = ctx.group
        way = _Pass(bias, q.shape[2], group.rank(), group.size(), q.device)
        queries, given = q.float() * ctx.scale, made.float()
        along = (given * out).sum(dim=-1, keepdim=True)
        of_q = torch.zeros_like(queries)
        begun = [one.new_zeros(one.shape, dtype=torch.float32) for one in (k, v)]
        here = [k.contiguous(), v.contiguous(), *begun]
        for step in range(group.size()):
            keys, values = (_for_each_query(x, q.shape[1]) for x in here[:2])
            of_k, of_v = torch.zeros_like(keys), torch.zeros_like(values)
            for rows, columns, added in way.blocks((group.rank() - step) % group.size()):
                block = _scores(queries[:, :, rows], keys[:, :, columns], added)
                shares = (block - logs[:, :, rows, None]).exp()
                of_v[:, :, columns] += shares.transpose(2, 3) @ given[:, :, rows]
                of_shares = given[:, :, rows] @ values[:, :, columns].transpose(2, 3)
                of_scores = shares * (of_shares - along[:, :, rows])
                of_q[:, :, rows] += of_scores @ keys[:, :, columns]
                of_k[:, :, columns] += of_scores.transpose(2, 3) @ queries[:, :, rows]
            here[2] += _of_each_head(of_k, k.shape[1])
            here[3] += _of_each_head(of_v, v.shape[1])
            # Gradients go on to the rank before which they began: after a whole round they are back.
            here = _passed_on(here, group)
        return (of_q * ctx.scale).to(q.dtype), here[2].to(k.dtype), here[3].to(v.dtype), None, None, None


def _scores(queries: Tensor, keys: Tensor, added: Tensor | None) -> Tensor:
    scores = queries @ keys.transpose(2, 3)
    return scores if added is None else scores + added


def _causal(length: int, device: torch.device) -> Tensor:
    return torch.full((length, length), NEVER, device=device).triu(1)


def _for_each_query(x: Tensor, heads: int) -> Tensor:
    """Keys or values of each query head, fp32 [B, N, T', H]."""
    return x.float().repeat_interleave(heads // x.shape[1], dim=1)


def _of_each_head(gradient: Tensor, heads: int) -> Tensor:
    """Gradients of the copies of a head, summed."""
    return torch.unflatten(gradient, 1, (heads, -1)).sum(dim=2)


def _passed_on(tensors: list[Tensor], group: dist.ProcessGroup) -> list[Tensor]:
    """What the rank before has, while the rank after gets what is here."""
    came = [torch.empty_like(one) for one in tensors]
    after, before = (group.rank() + 1) % group.size(), (group.rank() - 1) % group.size()
    ways = [dist.P2POp(dist.isend, one, group=group, group_peer=after) for one in tensors]
    ways += [dist.P2POp(dist.irecv, one, group=group, group_peer=before) for one in came]
    for work in dist.batch_isend_irecv(ways):
        work.wait()
    return came
