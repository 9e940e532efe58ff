"""`specc fmt`: the one layout of a spec. Comments stay with what they are about, and the meaning never changes.

Written on PyYAML's tokens and not on ruamel.yaml: that keeps a comment with the token before it, so comments go astray
when keys change their order, and it loses some of those inside flow collections.
"""

from specc.canonical.document import FormatError
from specc.canonical.rewrite import format_text

__all__ = ["FormatError", "format_text"]
