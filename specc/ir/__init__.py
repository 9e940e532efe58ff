"""What a spec means, without a word of how it was written. Frozen dataclasses on the standard library alone."""

from specc.ir.component import Component, Dimension, Initialisation, Regulation, Saved, Weight
from specc.ir.derivation import Derivation, Input
from specc.ir.experiment import (
    Dataset,
    Evaluation,
    Experiment,
    Export,
    Import,
    OptimizerRule,
    Requested,
    Setting,
    SpecialTokens,
    Stage,
    Suite,
    Task,
    Tokenizer,
    Training,
)
from specc.ir.model import Layer, Model, Stack, check_model
from specc.ir.plan import Cluster, Device, Layout, Memory, Partition, Plan, Rejection, StagePlan
from specc.ir.verify import BrokenIrError, check_experiment, check_plan, verify

__all__ = [
    "BrokenIrError",
    "Cluster",
    "Component",
    "Dataset",
    "Derivation",
    "Device",
    "Dimension",
    "Evaluation",
    "Experiment",
    "Export",
    "Import",
    "Initialisation",
    "Input",
    "Layer",
    "Layout",
    "Memory",
    "Model",
    "OptimizerRule",
    "Partition",
    "Plan",
    "Regulation",
    "Rejection",
    "Requested",
    "Saved",
    "Setting",
    "SpecialTokens",
    "Stack",
    "Stage",
    "StagePlan",
    "Suite",
    "Task",
    "Tokenizer",
    "Training",
    "Weight",
    "check_experiment",
    "check_model",
    "check_plan",
    "verify",
]
