"""A tokenizer that needs no file: whole words hashed into a vocabulary of a given size."""

import re
import zlib
from collections.abc import Sequence

# Scripts written without spaces count one character as one word.
_CJK = "぀-ヿ㐀-䶿一-鿿豈-﫿가-힯"
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")

START = 2
"""Id every title starts with, read by [CLS] pooling. Not 0 or 1: those pad BERT's and RoBERTa's kin."""
FIRST_WORD = 4
"""Ids below are left to the padding, start and end tokens that towers fix in their configurations."""


class WordTokenizer:
    """Splits titles into words and hashes each to a stable id in ``FIRST_WORD..vocab_size-1``.

    Args:
        vocab_size: Rows of the tower's token table.

    >>> WordTokenizer(100)(["a paper crane", ""], max_tokens=3)
    [[2, 7, 58], [2]]
    """

    def __init__(self, vocab_size: int) -> None:
        if vocab_size <= FIRST_WORD:
            raise ValueError(
                f"tokenizer 'words' needs a vocabulary of more than {FIRST_WORD} ids; config has "
                f"vocab_size={vocab_size}."
            )
        self.vocab_size = vocab_size
        self.key = f"words:{vocab_size}"

    def __call__(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of each text, at most ``max_tokens`` with the start token; words hash by CRC-32 of UTF-8."""
        n_words = self.vocab_size - FIRST_WORD
        return [
            [START, *(FIRST_WORD + zlib.crc32(w.encode("utf-8", "replace")) % n_words for w in words)]
            for words in (_WORD.findall(text)[: max_tokens - 1] for text in texts)
        ]
