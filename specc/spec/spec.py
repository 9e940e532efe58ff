"""The whole spec: what one YAML file may say."""

from __future__ import annotations

from typing import Annotated, Literal

from specc.kinds.model import Model
from specc.kinds.stage import Stage
from specc.kinds.tokenizer import Tokenizer
from specc.spec.base import Identifier, Name, Node, WholeNumber, annotation, identity, section
from specc.spec.cluster import ClusterSpec
from specc.spec.data import Data
from specc.spec.models import ExternalModel
from specc.spec.suites import SuiteSpec
from specc.spec.sweep import Sweep


class Spec(Node):
    """One experiment: the whole life of a language model."""

    specc: Annotated[Literal[1], WholeNumber] = annotation("Version of the language.")
    name: Name = annotation("Name of the experiment.")
    description: str = annotation("What it is for, in a line.", "")
    tags: tuple[str, ...] = annotation("Words to find it by.", ())
    allow: tuple[str, ...] = annotation("Codes of warnings and notes that are not to be reported.", ())
    warn: tuple[str, ...] = annotation("Codes that are to be reported as warnings, also those that are off.", ())
    seed: int = identity("Seed of initial weights and data order.", ge=0, lt=2**63)
    tokenizer: Tokenizer = section("Text to ids.")
    model: Model = section("The architecture.")
    models: dict[Identifier, ExternalModel] = section("Models from elsewhere by name.", default_factory=dict)
    data: dict[Identifier, Data] = section("Data sets by name.", default_factory=dict)
    suites: dict[Identifier, SuiteSpec] = section("Evaluation suites by name.", default_factory=dict)
    stages: dict[Identifier, Stage] = section("What is done; each stage names those it builds on.", min_length=1)
    cluster: ClusterSpec = section("Where it runs.", default_factory=ClusterSpec)
    sweep: Sweep = section("Values to try: one spec, many experiments.", default_factory=Sweep)
