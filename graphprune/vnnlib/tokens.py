"""VNN-LIB text as tokens, the commonest constraints as one token each."""

import re
from collections.abc import Iterator

# Numbers of a token of its own: no longer, and with no more digits in the exponent. Others are
# read as words, with their limits.
_NUMBER = r"[-+]?(?:\d{1,40}+\.?\d{0,40}+|\.\d{1,40}+)(?:[eE][-+]?\d{1,2}+)?+"
_VARIABLE = r"[A-Za-z][\w]*+(?:\[[\d,]*+\])?+"
# Either "(op variable number)", alone or with the assert around it; a declaration; a parenthesis;
# or a word.
# An index or a shape in brackets belongs to the word before it.
_TOKEN = re.compile(
    r"\(\s*+(?P<assert>assert\s++\(\s*+)?"
    rf"(?P<op>[<>]=?+|==?+)\s++(?P<variable>{_VARIABLE})\s++(?P<number>{_NUMBER})\s*+\)"
    r"(?(assert)\s*+\))\s*+"
    rf"|\(\s*+declare-(?:const|fun)\s++(?P<declared>{_VARIABLE})(?:\s*+\(\s*+\))?+\s++Real\s*+\)\s*+"
    r"|(?P<parenthesis>[()])\s*+"
    r"|(?P<word>[^\s()|;\"\[]++(?:\s*+\[[^\]()]*+\])?+|\|[^|]*+\||\"[^\"]*+\"|[|\"\[])\s*+"
    r"|;[^\n]*+\s*+|\s++"
)
SIMPLE, DECLARED, PARENTHESIS = "number", "declared", "parenthesis"


def tokens(text: str) -> Iterator[re.Match[str]]:
    """The matches of a text's tokens, comments and blanks among them.

    Their ``lastgroup`` is `SIMPLE` (groups ``assert``, ``op``, ``variable`` and ``number``, 1 to
    4), `DECLARED`, `PARENTHESIS`, ``word`` or None.
    """
    return _TOKEN.finditer(text)


def line_of(text: str, place: int) -> int:
    """The line, from 1, of a position in a text."""
    return text.count("\n", 0, place) + 1
