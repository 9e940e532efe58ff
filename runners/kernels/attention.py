"""Attention on a CPU in blocks of queries, for compiled programs in bf16.

PyTorch's kernel for CPUs (`scaled_dot_product_attention`, a form of FlashAttention-2; Dao 2023, arXiv:2307.08691) works
on small tiles, and most of its time goes into starting products. Here a block of queries meets all keys that it sees in
one batched product, and the compiler makes one pass over memory of what lies between two products. As there, scores are
fp32, the forward pass keeps of them two numbers a query, and the backward pass computes them again.

To the program's compiler all of it is one operation, as PyTorch's kernel is: it merges nothing of the two passes, and
needs no other graph for another length of sequences. Graphs that it keeps on disk name the operation: where what it
gives changes its shape, it needs another name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from runners.kernels import products

BLOCK = 128
"""Queries of a head that are computed at once."""
SCORES = 2**21
"""Numbers that are computed at once: more leave the caches, fewer make many calls."""
LONGEST = 512
"""Tokens: of 1,024 the scores of a block leave the caches, and PyTorch's tiles, which do not, are as fast or faster."""
_SMALLEST = torch.finfo(torch.float32).tiny


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As in `torch.nn.functional`, which also computes what is not compiled, or not for this form."""
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    if not (
        torch.compiler.is_compiling()
        and kind == torch.bfloat16
        and dropout_p == 0.0
        and _suit(query, key, value, grouped=enable_gqa)
        and (attn_mask is None or _suits(attn_mask, query.shape[2]))
    ):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    # One piece of memory each: the compiler writes it so where it computes them.
    pieces = (x.to(kind).contiguous() for x in (query, key, value))
    out: Tensor = ATTENTION(*pieces, attn_mask, scale, is_causal)[0]
    return out


@cache
def suits_this_machine() -> bool:
    """Whether this CPU multiplies bf16, and MKL, which PyTorch's kernel calls, makes no use of it.

    And whether PyTorch can compile one function for many sizes.
    """
    return (
        products.suits_this_machine()
        and torch.cpu._is_avx512_bf16_supported()
        and {"recompile_limit", "isolate_recompiles"} <= inspect.signature(torch.compile).parameters.keys()
    )


def _suit(q: Tensor, k: Tensor, v: Tensor, *, grouped: bool) -> bool:
    return (
        type(q) is Tensor
        and q.device.type == "cpu"
        and q.dim() == k.dim() == v.dim() == 4
        and BLOCK < q.shape[2] <= LONGEST
        and k.shape[0] == q.shape[0]
        and k.shape[2:] == q.shape[2:]
        and v.shape[:3] == k.shape[:3]
        and (k.shape[1] == q.shape[1] or (grouped and q.shape[1] % k.shape[1] == 0))
    )


def _suits(mask: Tensor, length: int) -> bool:
    return (
        mask.shape[-2:] == (length, length)
        and (mask.dtype == torch.bool or mask.is_floating_point())
        and not mask.requires_grad
    )


_library = torch.library.Library("specc_attention", "DEF")
_library.define(
    "blockwise(Tensor q, Tensor k, Tensor v, Tensor? mask, float scale, bool causal) -> (Tensor out, Tensor statistics)"
)
_library.define(
    "blockwise_gradients(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor statistics, float scale,"
    " bool causal) -> (Tensor of_q, Tensor of_k, Tensor of_v)"
)


@torch.library.impl(_library, "blockwise", "CPU")
def _attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool
) -> tuple[Tensor, Tensor]:
    """Of q [B, N, T, H], k [B, K, T, H] and v [B, K, T, G]: [B, N, T, G], and of each query, fp32 [B, N, T, 2].

    That is the largest score, and the logarithm of the sum of exponentials; together they would round each other away.
    The mask broadcasts to [B, N, T, T]: it is added to the scores, or is True where a key is seen, and has no gradient.
    """
    out, statistics = _of_shape(q, k, v)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        wide_q, wide_k, v = q.float(), _of_each_query(k.float(), q), _of_each_query(v, q)
        scores = None
        for part in _parts(q.shape, causal):
            scores = _exact_product(part.queries(wide_q), part.keys(wide_k).transpose(1, 2), scores)
            shares, part.among(statistics)[:] = _made(_softmax)(
                scores.unflatten(0, part.heads), part.mask(mask), scale, part.first
            )
            part.among(out)[:] = torch.bmm(shares.flatten(0, 1), part.keys(v)).unflatten(0, part.heads)
    return out, statistics


@torch.library.impl(_library, "blockwise_gradients", "CPU")
def _gradients(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    statistics: Tensor,
    scale: float,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of q, k and v, from that of the output."""
    of_q, keys = torch.empty_like(q), k.shape[1]
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        k, v = _of_each_query(k, q), _of_each_query(v, q)
        of_k, of_v = (torch.zeros(x.shape, dtype=torch.float32) for x in (k, v))
        wide_grad, wide_q, wide_k, wide_v = (x.float() for x in (grad, q, k, v))
        scores = of_shares = None
        for part in _parts(q.shape, causal):
            scores = _exact_product(part.queries(wide_q), part.keys(wide_k).transpose(1, 2), scores)
            of_shares = _exact_product(part.queries(wide_grad), part.keys(wide_v).transpose(1, 2), of_shares)
            shares, of_scores = _made(_backward)(
                scores.unflatten(0, part.heads),
                part.among(statistics),
                of_shares.unflatten(0, part.heads),
                part.mask(mask),
                scale,
                part.first,
            )
            shares, of_scores = shares.flatten(0, 1), of_scores.flatten(0, 1)
            part.among(of_q)[:] = torch.bmm(of_scores, part.keys(k)).unflatten(0, part.heads)
            part.seen_of(of_k).add_(torch.bmm(of_scores.transpose(1, 2), part.queries(q)).unflatten(0, part.heads))
            part.seen_of(of_v).add_(torch.bmm(shares.transpose(1, 2), part.queries(grad)).unflatten(0, part.heads))
        return of_q, *(_of_each_key(x, keys).to(q.dtype) for x in (of_k, of_v))


@torch.library.register_fake("specc_attention::blockwise", lib=_library)
def _of_shape(q: Tensor, k: Tensor, v: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    del k
    return q.new_empty((*q.shape[:3], v.shape[3])), q.new_empty((*q.shape[:3], 2), dtype=torch.float32)


@torch.library.register_fake("specc_attention::blockwise_gradients", lib=_library)
def _of_shapes(_: Tensor, q: Tensor, k: Tensor, v: Tensor, *__: object) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, mask, ctx.scale, ctx.causal = inputs
    ctx.save_for_backward(q, k, v, mask, output[1])


def _backwards(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, mask, statistics = ctx.saved_tensors
    of: tuple[Tensor, ...] = GRADIENTS(grad.to(q.dtype).contiguous(), q, k, v, mask, statistics, ctx.scale, ctx.causal)
    return (*of, None, None, None)


torch.library.register_autograd("specc_attention::blockwise", _backwards, setup_context=_keep, lib=_library)
ATTENTION = torch.ops.specc_attention.blockwise.default
GRADIENTS = torch.ops.specc_attention.blockwise_gradients.default


def _of_each_query(x: Tensor, q: Tensor) -> Tensor:
    """Keys or values, one head for each of the queries'."""
    return x if x.shape[1] == q.shape[1] else x.repeat_interleave(q.shape[1] // x.shape[1], dim=1)


def _of_each_key(x: Tensor, keys: int) -> Tensor:
    """Sums over the queries' heads of what concerns one of the keys'."""
    return x if x.shape[1] == keys else x.unflatten(1, (keys, -1)).sum(2)


@dataclass(frozen=True)
class _Part:
    """What is computed at once: some heads of some sequences, a block of queries, and the keys that these may see."""

    sequences: slice
    of_heads: slice
    rows: slice
    seen: slice
    heads: tuple[int, int]
    """How many of both."""
    first: Tensor | None
    """The place of the first query among the keys, where queries see none after their own. Not as a number, which the
    compiler would write into a kernel."""

    def among(self, x: Tensor) -> Tensor:
        """The queries' part of [B, N, T, ...]."""
        return x[self.sequences, self.of_heads, self.rows]

    def seen_of(self, x: Tensor) -> Tensor:
        """The keys' part of [B, N, T, ...]."""
        return x[self.sequences, self.of_heads, self.seen]

    def queries(self, x: Tensor) -> Tensor:
        """The same, flat, [heads, rows, H]."""
        return self.among(x).flatten(0, 1)

    def keys(self, x: Tensor) -> Tensor:
        """The same, flat, [heads, seen, H]."""
        return self.seen_of(x).flatten(0, 1)

    def mask(self, mask: Tensor | None) -> Tensor | None:
        """Of one that broadcasts to [B, N, T, T]."""
        if mask is None:
            return None
        whole = mask.reshape((1,) * (4 - mask.dim()) + mask.shape)
        sequences = self.sequences if whole.shape[0] > 1 else slice(None)
        heads = self.of_heads if whole.shape[1] > 1 else slice(None)
        return whole[sequences, heads, self.rows, self.seen]


def _parts(shape: torch.Size, causal: bool) -> Iterator[_Part]:
    """Of [B, N, T, H]: whole sequences, or heads of one, so that what they have is one piece of memory."""
    sequences, heads, length, _ = shape
    together = max(1, SCORES // (min(BLOCK, length) * length))
    at_once, each = max(1, together // heads), min(together, heads)
    for start in range(0, length, BLOCK):
        rows = slice(start, min(start + BLOCK, length))
        seen = slice(0, rows.stop if causal else length)
        first = torch.tensor(start) if causal else None
        for sequence in range(0, sequences, at_once):
            some = slice(sequence, min(sequence + at_once, sequences))
            for head in range(0, heads, each):
                of_heads = slice(head, min(head + each, heads))
                yield _Part(some, of_heads, rows, seen, (_size(some), _size(of_heads)), first)


def _size(part: slice) -> int:
    size: int = part.stop - part.start
    return size


@contextmanager
def _by_onednn() -> Iterator[None]:
    """Let oneDNN compute products of fp32, which PyTorch gives to MKL otherwise.

    The way to it is a setting of the whole process, by which oneDNN may read fp32 as bf16: only for numbers that are.
    """
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


def _exact_product(a: Tensor, b: Tensor, into: Tensor | None) -> Tensor:
    """In fp32, of fp32 numbers that bf16 can hold: PyTorch's products of bf16 on a CPU round what they give to bf16.

    Where it fits, the memory of the product before takes the new one: it is in the caches still.
    """
    shape = (*a.shape[:2], b.shape[2])
    with _by_onednn():
        return torch.bmm(a, b, out=into if into is not None and into.shape == shape else None)


@cache
def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled for any size: a few kernels of it, for each kind of mask, serve all blocks of all lengths."""
    return torch.compile(function, dynamic=True, recompile_limit=64, isolate_recompiles=True)


def _masked(scores: Tensor, mask: Tensor | None, scale: float, first: Tensor | None) -> Tensor:
    scores = scores * scale
    if first is not None:
        queries = first + torch.arange(scores.shape[-2])[:, None]
        scores = scores.masked_fill(torch.arange(scores.shape[-1]) > queries, float("-inf"))
    if mask is None:
        return scores
    return scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask


def _softmax(scores: Tensor, mask: Tensor | None, scale: float, first: Tensor | None) -> tuple[Tensor, Tensor]:
    """In bf16, and the largest scores and logarithms of sums; a query that sees nothing takes nothing."""
    scores = _masked(scores, mask, scale, first)
    largest = scores.amax(-1, keepdim=True)
    if mask is not None:
        largest = largest.masked_fill(largest == float("-inf"), 0.0)
    shares = (scores - largest).exp()
    total = shares.sum(-1, keepdim=True).clamp(min=_SMALLEST)
    return (shares / total).bfloat16(), torch.cat([largest, total.log()], dim=-1)


def _backward(
    scores: Tensor, statistics: Tensor, of_shares: Tensor, mask: Tensor | None, scale: float, first: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Shares of values, and gradients of scores, both in bf16."""
    shares = (_masked(scores, mask, scale, first) - statistics[..., :1] - statistics[..., 1:]).exp()
    mean = (shares * of_shares).sum(-1, keepdim=True)
    return shares.bfloat16(), (shares * (of_shares - mean) * scale).bfloat16()
