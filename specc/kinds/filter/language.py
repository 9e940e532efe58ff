"""Language identification."""

from collections.abc import Iterator
from typing import Literal

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.base import Node, identity

_ISO_639_1 = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv "
    "ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne "
    "ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st "
    "su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
CODES = frozenset(_ISO_639_1.split())
"""All codes of ISO 639-1."""
# Countries, longer codes and names that are written for a language whose code they do not begin with.
_MEANT = {
    "at": "de", "br": "pt", "ca": "fr", "cn": "zh", "cz": "cs", "dk": "da", "ger": "de", "deu": "de", "german": "de",
    "gr": "el", "ell": "el", "greek": "el", "il": "he", "jp": "ja", "kor": "ko", "kp": "ko", "ua": "uk",
    "ukrainian": "uk", "us": "en", "gb": "en", "spa": "es", "spanish": "es", "por": "pt", "portuguese": "pt",
    "chi": "zh", "zho": "zh", "chinese": "zh", "zh-cn": "zh", "zh-tw": "zh", "dutch": "nl", "swe": "sv",
    "swedish": "sv", "pol": "pl", "polish": "pl", "tur": "tr", "turkish": "tr", "czech": "cs", "ces": "cs",
    "iw": "he", "in": "id", "ind": "id", "mal": "ml", "est": "et", "bos": "bs", "vietnamese": "vi",
}  # fmt: skip


class Language(Node):
    """Keep documents in these languages (Joulin et al. 2016, fastText, arXiv:1607.01759)."""

    kind: Literal["language"] = identity("The choice.")
    keep: tuple[str, ...] = identity("ISO 639-1 codes.", min_length=1)
    min_score: float = identity("Least confidence of the classifier.", 0.65, ge=0.0, le=1.0)

    def check(self, at: Path) -> Iterator[Finding]:
        """Codes that are none: every document would be dropped."""
        for index, code in enumerate(self.keep):
            if code in CODES:
                continue
            word = code.lower()
            meant = _MEANT.get(word, word[:2])
            known = "codes are two small letters, such as `en`, `de` or `zh`"
            help_text = f"did you mean `{meant}`?" if meant in CODES else known
            yield Finding("SPC216", f"`{code}` is no ISO 639-1 code", (At((*at, "keep", index)),), help=help_text)
