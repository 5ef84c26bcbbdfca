"""The tokens of a causal model as bytes: what constrained decoding matches against a text."""

from __future__ import annotations

import json
from typing import Any

from kiwi_fhir.errors import ModelError

_SAMPLE = 'Na 140, "naïve" µ-é\n<span class="test">'


class Vocabulary:
    """Token ids by their bytes, without special tokens; of tokens with the same bytes the first counts.

    Knows byte-level tokenizers (LLaMA 3, SmolLM2) and SentencePiece's with byte fallback (LLaMA 2).
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises ModelError for a tokenizer of another kind."""
        self._backend = tokenizer.backend_tokenizer
        decoder = json.dumps(json.loads(self._backend.to_str()).get("decoder") or {})
        self._byte_level = "ByteLevel" in decoder
        if not self._byte_level and "ByteFallback" not in decoder:
            raise ModelError("The base model's tokenizer is neither byte-level nor SentencePiece with byte fallback.")
        special = set(tokenizer.all_special_ids) | {
            index for index, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        table = _byte_characters()
        self.pieces: dict[int, bytes] = {}
        self.ids: dict[bytes, int] = {}
        for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
            piece = self._bytes_of(token, table)
            if index not in special and piece:
                self.pieces[index] = piece
                # A byte of SentencePiece's fallback gives way to the character's own token.
                if piece not in self.ids or _is_fallback(tokenizer.convert_ids_to_tokens(self.ids[piece])):
                    self.ids[piece] = index
        #: All beginnings of tokens, so that a search knows when to stop.
        self.beginnings = frozenset(piece[:end] for piece in self.ids for end in range(1, len(piece) + 1))
        if b"".join(self.pieces[index] for index in self.split(_SAMPLE)) != _SAMPLE.encode():
            raise ModelError("The base model's tokenizer changes the text that it reads: it can't copy a note.")

    def split(self, text: str) -> list[int]:
        """The ids of `text` as it stands inside a longer text; empty where that can't be told."""
        if self._byte_level:
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        # SentencePiece puts a space before what it takes for the beginning of a text: let it be before a line end.
        found = self._backend.encode("\n" + text, add_special_tokens=False).ids
        seen = b""
        for place, index in enumerate(found):
            if seen.lstrip() == b"" and seen.endswith(b"\n"):
                return list(found[place:])
            seen += self.pieces.get(index, b"")
        return []

    def writable(self, text: str) -> str:
        """`text` with a stand-in, one for one, for characters that no token can write.

        Vocabularies of bytes lack rare ones: control characters, planes of Unicode that are not in use.
        """
        lacking = {mark for mark in set(text) if not self._can_write(mark.encode())}
        return text.translate({ord(mark): "?" if mark.isprintable() else " " for mark in lacking}) if lacking else text

    def _can_write(self, piece: bytes) -> bool:
        return piece in self.ids or all(bytes((byte,)) in self.ids for byte in piece)

    def _bytes_of(self, token: str, table: dict[str, int]) -> bytes:
        if self._byte_level:
            return bytes(table[mark] for mark in token) if all(mark in table for mark in token) else token.encode()
        return bytes([int(token[3:5], 16)]) if _is_fallback(token) else token.replace("▁", " ").encode()


def _is_fallback(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _byte_characters() -> dict[str, int]:
    """The characters that stand for bytes in byte-level vocabularies.

    Printable ones of Latin-1 for themselves, the others, in order, from U+0100 on: the table of GPT-2's tokenizer.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(0x100 + place): byte for place, byte in enumerate(rest)}
