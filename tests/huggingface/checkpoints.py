"""A small checkpoint as transformers writes it, with a tokenizer of its own."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END = "<|endoftext|>"
LENGTH = 64


def write(folder: Path, *, puts_before: bool = True) -> transformers.PreTrainedModel:
    """A Llama with weights that matter, and a byte-level BPE that puts a token before a text, or does not."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    encoding = Tokenizer(models.BPE())
    encoding.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoding.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=[END], initial_alphabet=letters, show_progress=False)
    encoding.train_from_iterator(["the cat sat on a mat, the dog sat on the cat. " * 5], trainer)
    if puts_before:
        encoding.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=encoding, bos_token=END, eos_token=END).save_pretrained(
        folder
    )
    return model.eval()
