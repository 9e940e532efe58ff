"""What keeps or drops documents."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.filter.decontaminate import Decontaminate
from specc.kinds.filter.gopher_quality import GopherQuality
from specc.kinds.filter.language import Language
from specc.kinds.filter.minhash_dedup import MinhashDedup

FILTER = (Language, GopherQuality, MinhashDedup, Decontaminate)
Filter = Annotated[Language | GopherQuality | MinhashDedup | Decontaminate, Discriminator("kind")]
