"""Text in: a tree in which every key and every value knows where it was written."""

from specc.source.overrides import DELETES
from specc.source.reader import SpecErrors
from specc.source.source import Source, read, read_text

__all__ = ["DELETES", "Source", "SpecErrors", "read", "read_text"]
