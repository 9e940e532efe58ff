"""A declarative spec compiler for language-model experiments."""

__version__ = "0.1.0"
