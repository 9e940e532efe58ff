"""Stands in for the GPU package `flash_attn`, which runs on no CPU: its documented semantics in plain PyTorch.

Only what `flash_attn_func` and `flash_attn_varlen_func` of flash-attn 2.8 say of themselves (flash_attn_interface.py),
and for the order `attention_ref` of tests/test_flash_attn.py: softcap, then ALiBi, then the mask. It shows that the
generated calls hand over the right things in the right layout, and nothing about the kernels themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Tensor:
    """`q` [batch, queries, heads, size], `k` and `v` [batch, keys, fewer heads, size]; the sums are laid out as `q`."""
    assert not deterministic
    assert not return_attn_probs
    assert q.shape[3] == k.shape[3] == v.shape[3] <= 256
    assert q.stride(3) == k.stride(3) == v.stride(3) == 1, "the last axis must be contiguous"
    queries, keys, heads = q.shape[1], k.shape[1], q.shape[2]
    k, v = (each.repeat_interleave(heads // each.shape[2], dim=2) for each in (k, v))
    scores = torch.einsum("bthd,bshd->bhts", q, k) * (softmax_scale or q.shape[3] ** -0.5)
    if softcap > 0:
        scores = softcap * torch.tanh(scores / softcap)
    # Query and key are aligned at the bottom right: the last query stands where the last key does.
    distance = torch.arange(queries)[:, None] + keys - queries - torch.arange(keys)
    if alibi_slopes is not None:
        assert alibi_slopes.dtype == torch.float32
        assert alibi_slopes.shape == (heads,)
        scores = scores - alibi_slopes[:, None, None] * distance.abs()
    left, right = window_size
    unseen = torch.zeros_like(distance, dtype=torch.bool)
    if left >= 0:
        unseen |= distance > left
    if causal or right >= 0:
        unseen |= distance < -(0 if causal else right)
    shares = scores.masked_fill(unseen, float("-inf")).softmax(dim=-1)
    # A row without any key gives zero.
    shares = F.dropout(shares.masked_fill(unseen.all(dim=-1)[:, None], 0.0), dropout_p)
    return torch.einsum("bhts,bshd->bthd", shares.to(v.dtype), v)


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Tensor | None = None,
) -> Tensor:
    """Sequences one after the other: `q` [all queries, heads, size], `k` and `v` [all keys, fewer heads, size]."""
    assert block_table is None
    for ends, rows, longest in ((cu_seqlens_q, q, max_seqlen_q), (cu_seqlens_k, k, max_seqlen_k)):
        assert ends.dtype == torch.int32
        assert ends[0] == 0
        assert ends[-1] == len(rows)
        assert ends.diff().min() > 0
        assert ends.diff().max() == longest
    assert len(cu_seqlens_q) == len(cu_seqlens_k)
    of_queries, of_keys = ([(int(a), int(b)) for a, b in ends.unfold(0, 2, 1)] for ends in (cu_seqlens_q, cu_seqlens_k))
    sums = [
        flash_attn_func(
            q[None, a:b], k[None, c:d], v[None, c:d], dropout_p, softmax_scale, causal, window_size, softcap,
            alibi_slopes, deterministic, return_attn_probs,
        )
        for (a, b), (c, d) in zip(of_queries, of_keys, strict=True)
    ]  # fmt: skip
    return torch.cat(sums, dim=1)[0]
