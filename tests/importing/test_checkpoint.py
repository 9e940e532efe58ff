"""What is taken over from a checkpoint."""

from __future__ import annotations

from runners import huggingface
from specc.importing import checkpoint


def test_an_export_hands_on_the_tokenizer_files_that_an_import_takes() -> None:
    """Both sides of the process boundary name them, since runners know nothing of the compiler."""
    assert huggingface.TOKENIZER_FILES == checkpoint.TOKENIZER_FILES
