"""Attention on a CPU in blocks of queries, for compiled programs in 16 bits.

PyTorch's kernel for CPUs (`scaled_dot_product_attention`, a form of FlashAttention; Dao 2023, arXiv:2307.08691) works
on small tiles, and most of its time goes into starting products. Here a block of queries meets all keys that it sees in
one batched product, and the compiler makes one pass over memory of what lies between two products. As there, scores are
fp32, the forward pass keeps of them one number a query, and the backward pass computes them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 128
"""Queries that are computed at once."""
LONGEST = 1024
"""Tokens: the blocks of longer sequences would be many to compile, and PyTorch's tiles then lose less."""
_SMALLEST = torch.finfo(torch.float32).tiny


def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As in `torch.nn.functional`, which also computes what is not compiled, or not for this form."""
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else q.dtype
    if not _suits(q, k, attn_mask, dropout_p, kind):
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa and k.shape[1] < q.shape[1]:
        each = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(each, dim=1), v.repeat_interleave(each, dim=1)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return attend(q.to(kind), k.to(kind), v.to(kind), attn_mask, scale, causal=is_causal)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, *, causal: bool) -> Tensor:
    """Attention of [B, N, T, H] over as many keys and values; [B, N, T, H of the values].

    The mask broadcasts to [B, N, T, T]: it is added to the scores, or is True where a key is seen, and has no gradient.
    """
    heads = q.shape[:2]
    plan = _Plan(q.shape[2], scale, causal, mask, heads)
    out: Tensor = cast("Any", _Attention).apply(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), plan)
    return out.unflatten(0, heads)


def _suits(q: Tensor, k: Tensor, mask: Tensor | None, dropout: float, kind: torch.dtype) -> bool:
    length = q.shape[2]
    return (
        torch.compiler.is_compiling()
        and q.device.type == "cpu"
        and kind in (torch.bfloat16, torch.float16)
        and dropout == 0.0
        and BLOCK < length <= LONGEST
        and k.shape[2] == length
        and (mask is None or (mask.shape[-2:] == (length, length) and not mask.requires_grad))
    )


@dataclass(frozen=True)
class _Plan:
    """What is seen of what."""

    length: int
    scale: float
    causal: bool
    mask: Tensor | None
    heads: torch.Size

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Queries, and the keys that they may see."""
        for start in range(0, self.length, BLOCK):
            end = min(start + BLOCK, self.length)
            yield slice(start, end), slice(0, end if self.causal else self.length)

    def scores(self, q: Tensor, k: Tensor, rows: slice, seen: slice) -> Tensor:
        """Of some queries, fp32 [B * N, rows, seen], from scaled [B * N, T, H] in fp32; -inf where a key is hidden."""
        scores = torch.bmm(q[:, rows], k[:, seen].transpose(1, 2))
        if self.causal:
            queries = torch.arange(rows.start, rows.stop, device=q.device)[:, None]
            keys = torch.arange(seen.stop, device=q.device)
            scores = scores.masked_fill(keys > queries, float("-inf"))
        if self.mask is None:
            return scores
        mask, by_head = self.mask[..., rows, seen], scores.unflatten(0, self.heads)
        changed = by_head.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else by_head + mask
        return changed.flatten(0, 1)

    def largest(self, scores: Tensor) -> Tensor:
        """Of each query; 0 where it sees nothing, so that it takes nothing."""
        found = scores.amax(-1, keepdim=True)
        return found if self.mask is None else found.masked_fill(found == float("-inf"), 0.0)


class _Attention(torch.autograd.Function):
    """Of q, k, v [B * N, T, H] in 16 bits. Products of scores are fp32, all others take 16 bits."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: _Plan) -> Tensor:
        wide_q, wide_k = q.float() * plan.scale, k.float()
        outs, sums = [], []
        for rows, seen in plan.blocks():
            scores = plan.scores(wide_q, wide_k, rows, seen)
            largest = plan.largest(scores)
            shares = (scores - largest).exp()
            total = shares.sum(-1, keepdim=True).clamp(min=_SMALLEST)
            sums.append(largest + total.log())
            outs.append(torch.bmm((shares / total).to(v.dtype), v[:, seen]))
        ctx.save_for_backward(q, k, v, torch.cat(sums, dim=1))
        ctx.plan = plan
        return torch.cat(outs, dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, sums = ctx.saved_tensors
        plan, kind = ctx.plan, q.dtype
        wide_q, wide_k = q.float() * plan.scale, k.float()
        of_q = []
        of_k, of_v = torch.zeros_like(wide_k), torch.zeros_like(v, dtype=torch.float32)
        for rows, seen in plan.blocks():
            shares = (plan.scores(wide_q, wide_k, rows, seen) - sums[:, rows]).exp()
            of_shares = torch.bmm(grad[:, rows], v[:, seen].transpose(1, 2)).float()
            # Their mean is of what the product gave, and not of the output: its rounding then cancels.
            mean = (shares * of_shares).sum(-1, keepdim=True)
            of_scores = (shares * (of_shares - mean) * plan.scale).to(kind)
            of_q.append(torch.bmm(of_scores, k[:, seen]))
            of_k[:, seen] += torch.bmm(of_scores.transpose(1, 2), q[:, rows])
            of_v[:, seen] += torch.bmm(shares.to(kind).transpose(1, 2), grad[:, rows])
        return torch.cat(of_q, dim=1), of_k.to(kind), of_v.to(kind), None
