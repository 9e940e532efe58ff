"""Every family of models that can be read, one file each."""

from specc.huggingface.families.bert import BERT
from specc.huggingface.families.bloom import BLOOM
from specc.huggingface.families.cohere import COHERE
from specc.huggingface.families.deepseek_v2 import DEEPSEEK_V2
from specc.huggingface.families.deepseek_v3 import DEEPSEEK_V3
from specc.huggingface.families.falcon import FALCON
from specc.huggingface.families.gemma import GEMMA
from specc.huggingface.families.gemma2 import GEMMA2
from specc.huggingface.families.gemma3_text import GEMMA3_TEXT
from specc.huggingface.families.gpt2 import GPT2
from specc.huggingface.families.gpt_neox import GPT_NEOX
from specc.huggingface.families.gpt_oss import GPT_OSS
from specc.huggingface.families.granite import GRANITE
from specc.huggingface.families.llama import LLAMA
from specc.huggingface.families.mistral import MISTRAL
from specc.huggingface.families.mixtral import MIXTRAL
from specc.huggingface.families.modernbert import MODERNBERT
from specc.huggingface.families.mpt import MPT
from specc.huggingface.families.olmo2 import OLMO2
from specc.huggingface.families.opt import OPT
from specc.huggingface.families.phi import PHI
from specc.huggingface.families.phi3 import PHI3
from specc.huggingface.families.qwen2 import QWEN2
from specc.huggingface.families.qwen2_moe import QWEN2_MOE
from specc.huggingface.families.qwen3 import QWEN3
from specc.huggingface.families.qwen3_moe import QWEN3_MOE
from specc.huggingface.families.roberta import ROBERTA
from specc.huggingface.families.starcoder2 import STARCODER2
from specc.huggingface.families.t5 import T5
from specc.huggingface.family import Family

FAMILIES: tuple[Family, ...] = (
    BERT,
    BLOOM,
    COHERE,
    DEEPSEEK_V2,
    DEEPSEEK_V3,
    FALCON,
    GEMMA,
    GEMMA2,
    GEMMA3_TEXT,
    GPT2,
    GPT_NEOX,
    GPT_OSS,
    GRANITE,
    LLAMA,
    MISTRAL,
    MIXTRAL,
    MODERNBERT,
    MPT,
    OLMO2,
    OPT,
    PHI,
    PHI3,
    QWEN2,
    QWEN2_MOE,
    QWEN3,
    QWEN3_MOE,
    ROBERTA,
    STARCODER2,
    T5,
)
