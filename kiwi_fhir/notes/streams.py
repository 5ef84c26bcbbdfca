"""Bytes of an input file in blocks and lines, unpacked on the way, in flat memory.

Python's gzip module is not used: where a file breaks off it throws away what it has unpacked since the last whole
read, and the notes in that part are whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from typing import BinaryIO

from kiwi_fhir.errors import InputError
from kiwi_fhir.notes.files import GZIP_MAGIC, Files, basename, shown

BLOCK = 1 << 18  # bytes; larger ones are no faster
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for a gzip header and its checksum


def blocks(files: Files, path: str) -> Iterator[bytes]:
    """The file's bytes in blocks of at most 256 KB, unpacked where the file starts as gzip does.

    Raises InputError after the last good block when the file can't be opened or read on, or its gzip stream is damaged
    or ends early.
    """
    raw = _read(files, path)
    first = next(raw, b"")
    if not first.startswith(GZIP_MAGIC):
        if first:
            yield first
        yield from raw
        return
    yield from _gunzip(first, raw, basename(path))


def lines(files: Files, path: str) -> Generator[bytes]:
    r"""The file's lines with their `\n`, the UTF-8 byte order mark left out; the last one may lack its `\n`.

    Raises InputError as `blocks` does. A line that the file breaks off in is not given out.
    """
    stream = _split(blocks(files, path))
    first = next(stream, None)
    if first is None:
        return
    yield first.removeprefix(b"\xef\xbb\xbf")
    yield from stream


def _split(stream: Iterator[bytes]) -> Iterator[bytes]:
    pending: list[bytes] = []  # a line may span many blocks; joining it once keeps that linear
    for block in stream:
        parts = block.split(b"\n")
        if len(parts) == 1:
            pending.append(block)
            continue
        pending.append(parts[0])
        yield b"".join(pending) + b"\n"
        for part in parts[1:-1]:
            yield part + b"\n"
        pending = [parts[-1]]
    last = b"".join(pending)
    if last:
        yield last


def _read(files: Files, path: str) -> Iterator[bytes]:
    try:
        stream: BinaryIO = files.open(path)
        with stream:
            while block := stream.read(BLOCK):
                yield block
    except OSError as error:
        raise InputError(
            f"{shown(path)} can't be read ({type(error).__name__}): check the file and its rights."
        ) from error


def _gunzip(first: bytes, rest: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The members of a gzip file one after another, with a bound on what one call unpacks."""
    member = zlib.decompressobj(_GZIP)
    between = False
    block = first
    while block:
        if between:
            block = block.lstrip(b"\0")  # padding after a member is legal
            if block:
                member, between = zlib.decompressobj(_GZIP), False
                continue
        else:
            try:
                data = member.decompress(block, BLOCK)
            except zlib.error as error:
                raise InputError(f"{name} is damaged: its gzip stream can't be unpacked to the end.") from error
            if data:
                yield data
            between = member.eof
            block = member.unused_data if between else member.unconsumed_tail
        if not block:
            block = next(rest, b"")
    if between:
        return
    try:
        data = member.flush()
    except zlib.error as error:
        raise InputError(f"{name} is damaged: its gzip stream can't be unpacked to the end.") from error
    if data:
        yield data
    if not member.eof:
        raise InputError(f"{name} breaks off: its gzip stream ends early. Fetch the file again.")
