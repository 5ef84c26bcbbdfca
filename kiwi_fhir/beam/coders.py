"""Notes, documents and failures as bytes between workers: JSON, the same for the same value, without pickle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from apache_beam.coders import Coder, registry

from kiwi_fhir.types import Document, Failure, Note


class DataclassCoder(Coder):
    """A frozen dataclass of texts, numbers, tuples and other such dataclasses. Importing this module registers it."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind: Any = kind

    def encode(self, value: Any) -> bytes:
        """Fields by name, sorted. Half a surrogate pair in a text is one note's fault and ends no job."""
        line = json.dumps(asdict(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return line.encode("utf-8", "surrogatepass")

    def decode(self, encoded: bytes) -> Any:
        """The value that `encode` was given."""
        return _reader(self._kind)(json.loads(encoded.decode("utf-8", "surrogatepass")))

    def is_deterministic(self) -> bool:
        """Yes: a value may be a key."""
        return True

    def to_type_hint(self) -> Any:
        """The dataclass."""
        return self._kind

    @classmethod
    def from_type_hint(cls, typehint: type[Any], registry: object) -> DataclassCoder:
        """The coder of a dataclass."""
        return cls(typehint)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of `kind` from its JSON."""
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
        return lambda found: kind(**{name: readers[name](value) for name, value in found.items()})
    if get_origin(kind) is tuple:
        item = _reader(get_args(kind)[0])
        return lambda found: tuple(map(item, found))
    if get_origin(kind) in (Union, UnionType):  # of a dataclass and None, or of plain values
        some = next((_reader(part) for part in get_args(kind) if hasattr(part, "__dataclass_fields__")), None)
        if some is not None:
            return lambda found: None if found is None else some(found)
    return lambda found: found


for _kind in (Note, Document, Failure):
    registry.register_coder(_kind, DataclassCoder)
