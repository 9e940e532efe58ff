"""Text in: a tree in which every key and every value knows where it was written."""

from specc.source.reader import SpecErrors
from specc.source.source import Source, read

__all__ = ["Source", "SpecErrors", "read"]
