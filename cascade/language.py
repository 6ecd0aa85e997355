"""Which language a text is in, so that a stored question never answers one in another language.

Google's CLD2 says: its model is in the wheel, nothing is unpickled, and a text takes microseconds. What matters
here is that rewordings get one label, more than that it is the right one, since two labels cost a hit. By that
measure fastText, lingua (which takes much memory), langdetect, CLD3 and whatlang lost, in this order; ELD is as
good, and young.
"""

from __future__ import annotations

from typing import Any

from cascade.errors import ConfigError

UNKNOWN = frozenset({"un", "xx"})
"""CLD2's codes for a text whose language it cannot tell, and for one of which it knows the script alone."""


def language_of(text: str) -> str:
    """ISO 639 code of the text's language, or "" when none can be told.

    The best guess, however unsure: leaving out the unsure ones splits more rewordings than it saves. Raises
    ``ConfigError`` where the package is not installed, as on machines for which it has no wheel.
    """
    try:
        import pycld2
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    # Control characters and code points that stand for nothing it refuses as no UTF-8.
    readable = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    found: Any = pycld2.detect(readable, bestEffort=True)[2]
    code = str(found[0][1]).partition("-")[0]  # it takes short simplified Chinese for traditional (zh-Hant)
    return "" if code in UNKNOWN else code


_MISSING = (
    "telling languages apart, without which no stored question may answer another, needs the package pycld2: "
    "pip install pycld2 (which needs a C++ compiler where there is no wheel)"
)
