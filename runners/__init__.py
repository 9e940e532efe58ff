"""Executes what the compiler generated: training, evaluation, jobs. Of specc, only the manifest is imported."""
