"""How large the models of the presets are, as those say who made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A published number of parameters."""

    hub: str
    published: str
    source: str
    of: Literal["all", "without the token table", "without tables"] = "all"
    """Whether the table of tokens counts, or that and the matrix of the head."""


_LLAMA2 = "Touvron et al. 2023, arXiv:2302.13971, table 2: the same architecture"
_PYTHIA = "Biderman et al. 2023, arXiv:2304.01373, table 1"
PUBLISHED: dict[str, Figure] = {
    "bert_base": Figure("google-bert/bert-base-uncased", "110M", "Devlin et al. 2019, arXiv:1810.04805, section 3"),
    "bloom_560m": Figure("bigscience/bloom-560m", "559,214,592", "the model card"),
    "command_r": Figure("CohereForAI/c4ai-command-r-v01", "35B", "the model card"),
    "command_r_plus": Figure("CohereForAI/c4ai-command-r-plus", "104B", "the model card"),
    "deepseek_v2_lite": Figure("deepseek-ai/DeepSeek-V2-Lite", "15.7B", "arXiv:2405.04434, appendix B"),
    "deepseek_v3": Figure("deepseek-ai/DeepSeek-V3", "671B", "arXiv:2412.19437, section 4.2"),
    "falcon_40b": Figure("tiiuae/falcon-40b", "40B", "arXiv:2311.16867", "without the token table"),
    "falcon_7b": Figure("tiiuae/falcon-7b", "7B", "arXiv:2311.16867"),
    "falcon_rw_1b": Figure("tiiuae/falcon-rw-1b", "1.3B", "Penedo et al. 2023, arXiv:2306.01116"),
    "gemma2_27b": Figure(
        "google/gemma-2-27b", "26,047,480,320", "arXiv:2408.00118, table 2", "without the token table"
    ),
    "gemma2_2b": Figure("google/gemma-2-2b", "2,024,517,888", "arXiv:2408.00118, table 2", "without the token table"),
    "gemma3_1b": Figure("google/gemma-3-1b-pt", "698M", "arXiv:2503.19786, table 1", "without the token table"),
    "gemma_2b": Figure("google/gemma-2b", "1,981,884,416", "arXiv:2403.08295, table 2", "without the token table"),
    "gemma_7b": Figure("google/gemma-7b", "7,751,248,896", "arXiv:2403.08295, table 2", "without the token table"),
    "gpt2_124m": Figure("openai-community/gpt2", "124M", "the repository openai/gpt-2"),
    "gpt2_xl": Figure("openai-community/gpt2-xl", "1558M", "the repository openai/gpt-2"),
    "gpt_oss_120b": Figure("openai/gpt-oss-120b", "116.83B", "arXiv:2508.10925, table 1"),
    "gpt_oss_20b": Figure("openai/gpt-oss-20b", "20.91B", "arXiv:2508.10925, table 1"),
    "granite3_8b": Figure("ibm-granite/granite-3.0-8b-base", "8.1B", "the model card"),
    "llama2_7b": Figure("meta-llama/Llama-2-7b-hf", "6.7B", _LLAMA2),
    "llama3_1_8b": Figure("meta-llama/Llama-3.1-8B", "8B", "arXiv:2407.21783, table 3"),
    "llama3_2_1b": Figure("meta-llama/Llama-3.2-1B", "1.23B", "the model card"),
    "llama3_8b": Figure("meta-llama/Meta-Llama-3-8B", "8B", "arXiv:2407.21783, table 3"),
    "mistral_7b": Figure("mistralai/Mistral-7B-v0.1", "7.3B", "the release note"),
    "mixtral_8x7b": Figure("mistralai/Mixtral-8x7B-v0.1", "46.7B", "the release note"),
    "modernbert_base": Figure("answerdotai/ModernBERT-base", "149M", "arXiv:2412.13663, section 2.3"),
    "mpt_7b": Figure("mosaicml/mpt-7b", "6.7B", "the model card"),
    "olmo2_7b": Figure("allenai/OLMo-2-1124-7B", "7B", "arXiv:2501.00656"),
    "opt_125m": Figure("facebook/opt-125m", "125M", "Zhang et al. 2022, arXiv:2205.01068, table 1"),
    "opt_6_7b": Figure("facebook/opt-6.7b", "6.7B", "Zhang et al. 2022, arXiv:2205.01068, table 1"),
    "phi1_5": Figure("microsoft/phi-1_5", "1.3B", "Li et al. 2023, arXiv:2309.05463", "without the token table"),
    "phi2": Figure("microsoft/phi-2", "2.7B", "the model card"),
    "phi3_mini_4k": Figure("microsoft/Phi-3-mini-4k-instruct", "3.8B", "arXiv:2404.14219"),
    "pythia_160m": Figure("EleutherAI/pythia-160m", "85,056,000", _PYTHIA, "without tables"),
    "pythia_1_4b": Figure("EleutherAI/pythia-1.4b", "1,208,602,624", _PYTHIA, "without tables"),
    "qwen1_5_moe_a2_7b": Figure("Qwen/Qwen1.5-MoE-A2.7B", "14.3B", "the model card"),
    "qwen2_5_0_5b": Figure("Qwen/Qwen2.5-0.5B", "0.49B", "the model card"),
    "qwen2_7b": Figure("Qwen/Qwen2-7B", "7.61B", "the model card of Qwen2.5-7B, which has the same architecture"),
    "qwen3_30b_a3b": Figure("Qwen/Qwen3-30B-A3B", "30.5B", "the model card"),
    "qwen3_8b": Figure("Qwen/Qwen3-8B", "8.2B", "the model card"),
    "roberta_base": Figure("FacebookAI/roberta-base", "125M", "Liu et al. 2019, arXiv:1907.11692, and its repository"),
    "starcoder2_3b": Figure("bigcode/starcoder2-3b", "3B", "arXiv:2402.19173"),
    "t5_base": Figure("google-t5/t5-base", "0.22B", "Raffel et al. 2020, arXiv:1910.10683, section 3.7"),
    "t5_small": Figure("google-t5/t5-small", "60M", "Raffel et al. 2020, arXiv:1910.10683, section 3.7"),
    "t5_v1_1_base": Figure("google/t5-v1_1-base", "248M", "the repository google-research/t5x"),
}
