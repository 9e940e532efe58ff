"""The machines, and what Slurm is told about them, in Slurm's own words."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from specc import ir
from specc.spec.base import Node, SlurmWord, execution, section
from specc.spec.quantities import Bytes, Rate, Time, quantity

Count = Annotated[int, Field(ge=1)]


class SlurmSpec(Node):
    """Options of sbatch; what is left out is left to the site's defaults."""

    partition: SlurmWord | None = execution("Partition.", None)
    account: SlurmWord | None = execution("Account that is charged.", None)
    qos: SlurmWord | None = execution("Quality of service.", None)
    constraint: SlurmWord | None = execution("Features that a node must have.", None)
    reservation: SlurmWord | None = execution("Reservation.", None)
    exclude: tuple[SlurmWord, ...] = execution("Nodes to stay away from.", ())
    cpus_per_task: Count = execution("CPU cores per device.", 8)
    mem: Bytes | None = execution("Memory per node.", None)
    time_limit: Time = execution("Longest run of one job; longer stages are queued again.", quantity("24h"))

    def lower(self) -> dict[str, Any]:
        """Slurm's words, memory in GiB and time in minutes."""
        words = self.model_dump(exclude={"mem", "time_limit"})
        mem = None if self.mem is None else round(float(self.mem.amount) / 2**30, 3)
        return {**words, "mem_gib": mem, "time_limit_minutes": int(self.time_limit.amount / 60)}


class ClusterSpec(Node):
    """Devices of one kind, the links between them, and their price."""

    device: str = execution("Name in the hardware catalogue, such as `h100_sxm` or `cpu`.", "cpu")
    nodes: Count = execution("Nodes.", 1, le=100_000)
    devices_per_node: Count = execution("Devices in a node.", 1, le=1_024)
    intra_node_bandwidth: Rate = execution("Per device and direction, inside a node.", quantity("10 GB/s"))
    inter_node_bandwidth: Rate = execution("Per device and direction, between nodes.", quantity("1 GB/s"))
    price_per_device_hour: float | None = execution("US dollars.", None, ge=0.0)
    slurm: SlurmSpec | None = section("How jobs are queued; none where there is no Slurm.", None)

    def lower(self, device: ir.Device) -> ir.Cluster:
        """The cluster with its device from the catalogue; bandwidths in bytes/s."""
        return ir.Cluster(
            name=f"{self.nodes} x {self.devices_per_node} {self.device}",
            device=device,
            nodes=self.nodes,
            devices_per_node=self.devices_per_node,
            intra_node_bandwidth=float(self.intra_node_bandwidth.amount),
            inter_node_bandwidth=float(self.inter_node_bandwidth.amount),
            price_per_device_hour=self.price_per_device_hour,
            slurm={} if self.slurm is None else self.slurm.lower(),
        )
