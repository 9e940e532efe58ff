"""What every rank of a test needs, imported once in the process that ranks are forks of."""

import torch
import torch._dynamo
import torch.distributed
import torch.distributed.fsdp
import torch.distributed.tensor.parallel
import torch.nn.parallel

import runners.engines.ddp
import runners.engines.expert
import runners.engines.pipeline
import runners.init
import runners.objective
import runners.pretrain  # noqa: F401

torch.set_num_threads(1)
