"""A request for a layout in its surroundings: whose it is, and on which machines."""

from __future__ import annotations

from dataclasses import dataclass, replace

from specc.ir.experiment import Requested, Stage, Training
from specc.ir.model import Model
from specc.ir.plan import Cluster
from specc.planning.combinations import features
from specc.planning.mesh import Mesh, mesh_of
from specc.planning.traits import traits


@dataclass(frozen=True)
class Asked:
    """What is asked for one stage."""

    model: Model
    stage: Stage
    requested: Requested
    cluster: Cluster

    @property
    def mesh(self) -> Mesh:
        """The sizes, those that were left open filled in."""
        return mesh_of(self.requested, self.cluster)

    @property
    def training(self) -> Training:
        """The work of the stage."""
        assert isinstance(self.stage.work, Training), f"{self.stage.name} does not train"
        return self.stage.work

    @property
    def is_on_tpu(self) -> bool:
        """Whether the machines are driven through XLA alone."""
        return self.cluster.device.name.startswith("tpu_")

    def used(self, engine: str) -> tuple[str, ...]:
        """What an engine would have to do together: features of the layout, and traits of the rest."""
        mesh = self.mesh
        used = features(engine, self.requested, self.requested.zero_stage, mesh.data, mesh.context)
        return (*used, *traits(self.model, self.training, self.cluster))

    def instead(self, requested: Requested) -> Asked:
        """The same stage with another request."""
        return replace(self, requested=requested)

    def with_engine(self, engine: str) -> Asked:
        """The same request of one engine."""
        return self.instead(replace(self.requested, engine=engine))
