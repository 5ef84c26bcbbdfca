from __future__ import annotations

import gzip
import io
import random
from collections import deque
from pathlib import Path
from typing import BinaryIO

import pytest

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.notes.streams import BLOCK, blocks, lines

from .helpers import write


class Memory:
    """One file in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def match(self, pattern_or_path: str) -> list[str]:
        return [pattern_or_path]

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.data)


def content(data: bytes) -> bytes:
    return b"".join(blocks(Memory(data), "x"))


def test_match_takes_a_file_a_folder_and_a_glob(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "deep/er/c.txt", ".hidden.txt", ".git/d.txt", "deep/._c.txt"):
        write(tmp_path / name, "x")
    root = str(tmp_path)
    assert LOCAL.match(f"{root}/a.txt") == [f"{root}/a.txt"]
    assert LOCAL.match(root) == [f"{root}/a.txt", f"{root}/b.txt", f"{root}/deep/er/c.txt"]
    assert LOCAL.match(f"{root}/") == LOCAL.match(root)
    assert LOCAL.match(f"{root}/*.txt") == [f"{root}/a.txt", f"{root}/b.txt"]
    assert LOCAL.match(f"{root}/**/c.txt") == [f"{root}/deep/er/c.txt"]
    assert LOCAL.match(f"{root}/none") == []


def test_a_path_that_exists_is_no_glob(tmp_path: Path) -> None:
    path = str(write(tmp_path / "note[1].txt", "x"))
    assert LOCAL.match(path) == [path]


def test_open_gives_raw_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gz", "text")
    with LOCAL.open(str(path)) as stream:
        assert stream.read(2) == b"\x1f\x8b"


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_inputs_that_name_nothing_are_usage_errors(kind: str, tmp_path: Path) -> None:
    source = SOURCES[kind](LOCAL)
    write(tmp_path / "full/other.bin", "x")
    with pytest.raises(UsageError, match="No input"):
        source.files([])
    with pytest.raises(UsageError, match=r"missing\.csv does not exist"):
        source.files([str(tmp_path / "missing.csv")])
    with pytest.raises(UsageError, match=r"full holds no "):
        source.files([str(tmp_path / "full")])


@pytest.mark.parametrize(("kind", "name"), [("mimic-iii", "NOTEEVENTS.csv.gz"), ("document-reference", "x.ndjson.gz")])
def test_a_gz_that_is_no_gzip_is_a_usage_error(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"plain text")
    with pytest.raises(UsageError, match=r"\.gz is not gzip"):
        SOURCES[kind](LOCAL).files([str(tmp_path)])


def test_a_file_beside_its_packed_twin_is_a_usage_error(tmp_path: Path) -> None:
    write(tmp_path / "d.ndjson", "{}\n")
    write(tmp_path / "d.ndjson.gz", "{}\n")
    with pytest.raises(UsageError, match="twin"):
        SOURCES["document-reference"](LOCAL).files([str(tmp_path)])


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.txt", "x"))
    assert SOURCES["text"](LOCAL).files([path, str(tmp_path), f"{tmp_path}/*.txt"]) == [path]


def test_a_file_without_rights_is_a_usage_error() -> None:
    class Forbidden(Memory):
        def open(self, path: str) -> BinaryIO:
            raise PermissionError(path)

    with pytest.raises(UsageError, match=r"x\.ndjson\.gz can't be opened \(PermissionError\)"):
        SOURCES["document-reference"](Forbidden(b"")).files(["x.ndjson.gz"])


def test_gzip_of_many_members_padding_and_none_is_unpacked() -> None:
    data = random.Random(1).randbytes(3 * BLOCK + 7)
    members = b"".join(gzip.compress(data[i : i + 100_000]) for i in range(0, len(data), 100_000))
    assert content(members) == data
    assert content(members + b"\0" * 512) == data
    assert content(gzip.compress(b"")) == b""
    assert content(data) == data
    assert content(b"") == b""


def test_highly_packed_gzip_is_unpacked_in_bounded_blocks() -> None:
    found = list(blocks(Memory(gzip.compress(bytes(20_000_000))), "x"))
    assert sum(map(len, found)) == 20_000_000
    assert max(map(len, found)) <= BLOCK


@pytest.mark.parametrize("size", [10 * BLOCK, BLOCK, 1000, 0])
@pytest.mark.parametrize("cut", [1, 4, 8, 9, 12])
def test_gzip_that_ends_early_gives_all_it_holds_first(size: int, cut: int) -> None:
    data = random.Random(2).randbytes(size)
    packed = gzip.compress(data)[:-cut]
    parts: list[bytes] = []
    with pytest.raises(InputError, match="x breaks off"):
        deque(map(parts.append, blocks(Memory(packed), "x")), maxlen=0)
    found = b"".join(parts)
    assert data.startswith(found)
    if cut <= 8:  # only the checksum and the length are missing
        assert found == data


def test_damaged_gzip_is_an_input_error() -> None:
    packed = bytearray(gzip.compress(random.Random(3).randbytes(1000)))
    packed[-6] ^= 1  # the checksum
    with pytest.raises(InputError, match="damaged"):
        content(bytes(packed))
    with pytest.raises(InputError, match="damaged"):
        content(gzip.compress(b"x") + b"trailing garbage")


def test_lines_keep_their_ends_and_span_blocks() -> None:
    text = [b"\xef\xbb\xbffirst\r\n", b"\n", b"x" * (3 * BLOCK) + b"\n", b"a\rb\x00c\n", b"last"]
    found = list(lines(Memory(b"".join(text)), "x"))
    assert found == [b"first\r\n", *text[1:]]
    assert list(lines(Memory(b""), "x")) == []


def test_a_file_that_can_not_be_opened_is_an_input_error() -> None:
    with pytest.raises(InputError, match="FileNotFoundError"):
        list(blocks(LOCAL, "/nowhere/at/all"))
