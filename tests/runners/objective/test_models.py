"""Objectives against models that others wrote: what the engine computes is what they compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from runners.engines.torch_engine import TorchEngine, single
from runners.objective import Masked, SpanCorruption, SpanDenoiser, Ul2, training_examples
from runners.objective.examples import IGNORE
from runners.objective.ul2 import PrefixDenoiser

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")


class Encoder(nn.Module):
    """BERT with the signature of a generated encoder."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config = transformers.BertConfig(vocab_size=320, max_position_embeddings=64, **sizes)
        self.bert = transformers.BertForMaskedLM(config)

    def forward(self, ids_BT: Tensor) -> Tensor:
        return self.bert(ids_BT).logits


class EncoderDecoder(nn.Module):
    """T5 with the signature of a generated encoder-decoder."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
        self.t5 = transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=512, **sizes))

    def forward(self, ids_BT: Tensor, decoder_ids_BT: Tensor, attended_BT: Tensor | None = None) -> Tensor:
        mask = None if attended_BT is None else attended_BT.long()
        return self.t5(input_ids=ids_BT, decoder_input_ids=decoder_ids_BT, attention_mask=mask).logits


def engine(model: nn.Module, objective: Masked | SpanCorruption | Ul2) -> TorchEngine:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return single(model, optimizer, CPU, "fp32", 3, 1.0, loss=objective.loss)


def text(rows: int, length: int) -> Tensor:
    """Four letters in a fixed order: something that can be learned."""
    return (torch.arange(length) + torch.arange(rows)[:, None]) % 4 + 97


def test_an_encoder_learns_what_was_masked_and_scores_as_bert_says() -> None:
    torch.manual_seed(0)
    objective, model = Masked(0.15, 0.8, 0.1, 300, 256), Encoder()
    made = training_examples(objective, text(8, 65), 7, 0)
    said = model.eval().bert(made.ids, labels=made.targets).loss.item()
    trainer = engine(model, objective)
    assert trainer.validation_loss(made) == pytest.approx(said, rel=1e-5)
    for step in range(40):
        trainer.gradients(training_examples(objective, text(8, 65), 7, 8 * step))
        trainer.update(3e-3)
    assert trainer.validation_loss(made) < 2.0 < said


def test_an_encoder_decoder_learns_hidden_spans_and_scores_as_t5_says() -> None:
    torch.manual_seed(0)
    objective, model = SpanCorruption(tokens=40, noise_tokens=6, spans=2, first_sentinel=301, end=256), EncoderDecoder()
    made = training_examples(objective, text(8, 41), 7, 0)
    model.t5.config.decoder_start_token_id = model.t5.config.pad_token_id = 256
    said = model.eval().t5(input_ids=made.ids, labels=made.targets).loss.item()
    trainer = engine(model, objective)
    assert trainer.validation_loss(made) == pytest.approx(said, rel=1e-5)
    for step in range(40):
        trainer.gradients(training_examples(objective, text(8, 41), 7, 8 * step))
        trainer.update(3e-3)
    assert trainer.validation_loss(made) < 0.6 * said


def test_what_is_padding_changes_no_score() -> None:
    torch.manual_seed(0)
    denoisers = (SpanDenoiser(1.0, 400, 40, 6, 2), PrefixDenoiser(1.0, 401, 38, 19))
    objective = Ul2(denoisers, input_length=44, target_length=24, first_sentinel=301, end=256)
    model = EncoderDecoder().eval()
    made = training_examples(objective, text(8, 41), 7, 0)
    padding = ~made.more["attended_BT"]
    assert padding.any()
    with torch.no_grad():
        scores = model(made.ids, **made.more)
        other = model(made.ids.masked_fill(padding, 5), **made.more)
    wanted = made.targets != IGNORE
    assert torch.allclose(scores[wanted], other[wanted], atol=1e-5)
