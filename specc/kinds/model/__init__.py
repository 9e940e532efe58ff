"""Model families."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.model.decoder import Decoder
from specc.kinds.model.encoder import Encoder
from specc.kinds.model.encoder_decoder import EncoderDecoder

MODEL = (Decoder, Encoder, EncoderDecoder)
Model = Annotated[Decoder | Encoder | EncoderDecoder, Discriminator("kind")]
