"""A tiny decoder in the shape of a generated model: what the runners are tested with.

In a name, each capital letter after the underscore is a dimension: B sequences, T query positions, S key positions,
and the constants below.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

V = 264  # rows of the embedding
D = 32  # model width
L = 2  # layers
N = 2  # query heads
K = 1  # key/value heads
H = 16  # values per head
I = 64  # noqa: E741 - inner width of the feed-forward


class Cache:
    """Keys and values of the positions seen so far, [L, B, K, capacity, H] each; the first `length` are filled."""

    def __init__(self, batch_size: int, capacity: int, like: Tensor) -> None:
        self.keys = like.new_empty(L, batch_size, K, capacity, H)
        self.values = like.new_empty(L, batch_size, K, capacity, H)
        self.length = 0

    def append(self, layer: int, k_BKTH: Tensor, v_BKTH: Tensor) -> tuple[Tensor, Tensor]:
        """Store T new positions of one layer; return all of them, [B, K, S, H] each."""
        end = self.length + k_BKTH.shape[2]
        self.keys[layer, :, :, self.length : end] = k_BKTH
        self.values[layer, :, :, self.length : end] = v_BKTH
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def alibi_slopes() -> Tensor:
    """One slope per head, [N]: a geometric sequence from 2^(-8/N) (Press et al. 2022, arXiv:2108.12409, section 3)."""
    return 2.0 ** (-8.0 / N * torch.arange(1, N + 1))


def alibi_bias(start: int, x_BTD: Tensor) -> Tensor:
    """What is added to the scores, [N, T, S]: slope times distance, and minus infinity for the future."""
    query_T1 = torch.arange(start, start + x_BTD.shape[1], device=x_BTD.device)[:, None]
    key_S = torch.arange(start + x_BTD.shape[1], device=x_BTD.device)
    bias_NTS = alibi_slopes().to(x_BTD.device)[:, None, None] * (key_S - query_T1)
    return bias_NTS.masked_fill(key_S > query_T1, float("-inf")).to(x_BTD.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) * weight, computed in fp32 (Zhang and Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.rms_norm(x_BTD.float(), (D,), self.weight.float(), 1e-5).to(x_BTD.dtype)


class Attention(nn.Module):
    """Grouped-query attention: N query heads share K key/value heads (Ainslie et al. 2023, arXiv:2305.13245)."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.q_proj = nn.Linear(D, N * H, bias=False)
        self.k_proj = nn.Linear(D, K * H, bias=False)
        self.v_proj = nn.Linear(D, K * H, bias=False)
        self.o_proj = nn.Linear(N * H, D, bias=False)

    def forward(self, x_BTD: Tensor, bias_NTS: Tensor, cache: Cache | None) -> Tensor:
        q_BNTH = self.q_proj(x_BTD).unflatten(2, (-1, H)).transpose(1, 2)
        k_BKSH = self.k_proj(x_BTD).unflatten(2, (-1, H)).transpose(1, 2)
        v_BKSH = self.v_proj(x_BTD).unflatten(2, (-1, H)).transpose(1, 2)
        if cache is not None:
            k_BKSH, v_BKSH = cache.append(self.layer, k_BKSH, v_BKSH)
        k_BNSH = k_BKSH.repeat_interleave(N // K, dim=1)
        v_BNSH = v_BKSH.repeat_interleave(N // K, dim=1)
        y_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BNSH, v_BNSH, attn_mask=bias_NTS)
        return self.o_proj(y_BNTH.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(D, I, bias=False)
        self.up_proj = nn.Linear(D, I, bias=False)
        self.down_proj = nn.Linear(I, D, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm()
        self.attention = Attention(layer)
        self.ffn_norm = RMSNorm()
        self.ffn = FeedForward()

    def forward(self, x_BTD: Tensor, bias_NTS: Tensor, cache: Cache | None) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), bias_NTS, cache)
        return x_BTD + self.ffn(self.ffn_norm(x_BTD))


class Model(nn.Module):
    """Token ids [B, T] to logits [B, T, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.layers = nn.ModuleList(Block(layer) for layer in range(L))
        self.norm = RMSNorm()

    def forward(self, ids_BT: Tensor, cache: Cache | None = None) -> Tensor:
        return self.logits(self.hidden(ids_BT, cache))

    def embed(self, ids_BT: Tensor) -> Tensor:
        """What the first block reads, [B, T, D]."""
        return self.embedding(ids_BT)

    def hidden(self, ids_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """What the last block gives, [B, T, D]."""
        start = 0 if cache is None else cache.length
        x_BTD = self.embed(ids_BT)
        bias_NTS = alibi_bias(start, x_BTD)
        for block in self.layers:
            x_BTD = block(x_BTD, bias_NTS, cache)
        if cache is not None:
            cache.length += ids_BT.shape[1]
        return x_BTD

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Of the next token, [B, T, V]."""
        return F.linear(self.norm(x_BTD), self.embedding.weight)
