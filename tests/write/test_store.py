"""Files are written whole or not at all."""

import pytest

from kiwi_fhir.beam.files import BeamStore
from kiwi_fhir.write.store import LocalStore


@pytest.fixture(params=[LocalStore, BeamStore])
def store(request, tmp_path):
    return request.param(str(tmp_path))


def test_write_read_list_remove(store):
    assert store.read("a/b.txt") is None
    assert store.list("a") == []
    store.write("a/b.txt", [b"one", b"two"])
    store.write("a/a.txt", [])
    assert store.read("a/b.txt") == b"onetwo"
    assert store.read("a/a.txt") == b""
    assert store.list("a") == ["a/a.txt", "a/b.txt"]
    store.write("a/b.txt", [b"three"])
    assert store.read("a/b.txt") == b"three"
    store.remove("a/b.txt")
    store.remove("a/b.txt")
    assert store.list("a") == ["a/a.txt"]


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path):
    store = LocalStore(str(tmp_path))
    store.write("a.txt", [b"old"])

    def chunks():
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.write("a.txt", chunks())
    assert store.read("a.txt") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
