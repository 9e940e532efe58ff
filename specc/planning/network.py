"""Seconds that ranks of a mesh spend sending to each other. Symbols as in `mesh` and `memory`.

Collectives of tensor, context and expert parallelism stand between one matrix product and the next, and are counted as
not hidden; those of data parallelism are in `time`.
"""

from __future__ import annotations

from math import inf

from specc.ir.plan import Cluster, Layout
from specc.planning.mesh import Group, group
from specc.planning.workload import Workload

NETWORK = 0.75
"""Of a link's rate on the datasheet, what large collectives reach: A100 NVLink 235 of 300 GB/s, EFA 36 of 50 GB/s per
device (stas00/ml-engineering, network/README.md; same source for the latencies)."""
LATENCY_S = 44e-6
"""Of one collective inside a node; `LATENCY_BETWEEN_S` between nodes (30 to 60 us in stream)."""
LATENCY_BETWEEN_S = 60e-6


def exchanges(work: Workload, layout: Layout, cluster: Cluster) -> tuple[tuple[str, float], ...]:
    """Seconds of one micro-batch by cause, `work` being that of one rank; nothing outside a mesh."""
    if not layout.is_mesh:
        return ()
    causes = (
        ("tensor parallel", _tensor_s(work, layout, cluster)),
        ("context parallel", _context_s(work, layout, cluster)),
        ("expert parallel", _expert_s(work, layout, cluster)),
        ("pipeline transfers", _pipeline_s(work, layout, cluster)),
    )
    return tuple((cause, seconds) for cause, seconds in causes if seconds)


def collective_s(size: int, calls: int, among: Group, cluster: Cluster) -> float:
    """Seconds of ring collectives that bring `size` bytes to every device of a group, in `calls` calls.

    Rings run along the nodes, every device using its own link, so a node receives (nodes - 1) / nodes of the bytes over
    all its links together while each device receives (N - 1) / N inside the node; the slower of both counts.
    """
    if not size:
        return 0.0
    ranks, nodes = among.ranks, among.nodes
    inside = transfer_s(size * (ranks - 1) / ranks, cluster.intra_node_bandwidth)
    if nodes == 1:
        return inside + calls * LATENCY_S
    between = transfer_s(size * (nodes - 1) / nodes, among.per_node * cluster.inter_node_bandwidth)
    if among.per_node == 1:
        return between + calls * LATENCY_BETWEEN_S
    return max(inside, between) + calls * LATENCY_BETWEEN_S


def transfer_s(size: float, bandwidth: float) -> float:
    """A cluster that states no bandwidth has no link."""
    return size / (bandwidth * NETWORK) if bandwidth else inf


def _tensor_s(work: Workload, layout: Layout, cluster: Cluster) -> float:
    """Two all-reduces of w T h per block forward, two backward, two more when the block is recomputed.

    Narayanan et al. 2021, arXiv:2104.04473, section 3.2. An all-reduce moves twice its size. With sequence parallelism
    each is a reduce-scatter and an all-gather, of the same bytes (Korthikanti et al. 2022, section 4.2.2).
    """
    ranks = layout.tensor_parallel_size
    if ranks == 1:
        return 0.0
    calls = (6 if layout.activation_checkpointing == "full" else 4) * work.num_layers
    return collective_s(2 * calls * _hidden(work, layout), calls, group(ranks, 1, cluster), cluster)


def _context_s(work: Workload, layout: Layout, cluster: Cluster) -> float:
    """Parts of the sequence for heads, once forward and twice backward.

    Queries, keys, values and outputs go in all-to-alls, 1 / c of them to each other rank (Jacobs et al. 2023, DeepSpeed
    Ulysses, arXiv:2309.14509, section 3.2).
    """
    ranks = layout.context_parallel_size
    if ranks == 1:
        return 0.0
    passes = 4 if layout.activation_checkpointing == "full" else 3
    tokens = layout.micro_batch_size * work.context_length
    moved = tokens * (work.kv_values + 2 * work.num_layers * work.hidden_size)
    calls = passes * 2 * work.num_layers
    members = group(ranks, layout.tensor_parallel_size, cluster)
    return collective_s(passes * work.value_bytes * moved, calls, members, cluster)


def _expert_s(work: Workload, layout: Layout, cluster: Cluster) -> float:
    """Every token goes to its k experts and comes back, forward and backward: four all-to-alls of w T k h per block.

    Lepikhin et al. 2020, GShard, arXiv:2006.16668, section 3.2. Experts are taken to be equally busy.
    """
    ranks = layout.expert_parallel_size
    if ranks == 1:
        return 0.0
    passes = 6 if layout.activation_checkpointing == "full" else 4
    moved = passes * work.expert_choices * _hidden(work, layout)
    members = group(ranks, layout.tensor_parallel_size, cluster)
    return collective_s(moved, passes * work.num_layers, members, cluster)


def _pipeline_s(work: Workload, layout: Layout, cluster: Cluster) -> float:
    """Activations to the next stage and their gradients back, w T h each for every chunk (Narayanan et al. 2021)."""
    stages, chunks = layout.pipeline_parallel_size, layout.pipeline_chunks
    if stages == 1:
        return 0.0
    stride = layout.tensor_parallel_size * layout.reducing_size
    inside = 2 * stride <= cluster.devices_per_node
    bandwidth = cluster.intra_node_bandwidth if inside else cluster.inter_node_bandwidth
    latency = LATENCY_S if inside else LATENCY_BETWEEN_S
    size = _hidden(work, layout) / (layout.tensor_parallel_size if layout.sequence_parallel else 1)
    return 2 * chunks * (transfer_s(size, bandwidth) + latency)


def _hidden(work: Workload, layout: Layout) -> int:
    """Bytes of one micro-batch in the residual stream, whole: w T h."""
    return layout.micro_batch_size * work.context_length * work.hidden_size * work.value_bytes
