"""Small files in exactly the official layouts of the text sets."""

from __future__ import annotations

PLAY = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n"

# As the official files begin: blank lines hold one blank, headings stand between equals signs.
ARTICLE = (
    " \n = Robert <unk> = \n \n Robert <unk> is an English film , television and theatre actor . He had a guest "
    "starring role on the television series The Bill in 2000 . \n \n = = Career = = \n \n"
)


def wikitext(copies: int) -> bytes:
    return (ARTICLE * copies).encode()


def sentences(kind: str, count: int) -> list[str]:
    """As different as the fold of a sentence needs them, the class told by one word."""
    word = {"pos": "splendid", "neg": "dreary"}[kind]
    return [f"a {word} film number {k} , with {'many' if k % 2 else 'few'} ideas . " for k in range(count)]


def polarity_files(count: int = 60, *, pos: bytes | None = None, neg: bytes | None = None) -> dict[str, bytes]:
    found = {f"rt-polarity.{kind}": ("\n".join(sentences(kind, count)) + "\n").encode() for kind in ("pos", "neg")}
    return found | {f"rt-polarity.{k}": v for k, v in (("pos", pos), ("neg", neg)) if v is not None}
