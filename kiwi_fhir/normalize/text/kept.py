"""Answers kept: notes say the same words again and again, and to read them costs more than to look them up."""

from __future__ import annotations

from typing import TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

_MOST = 20_000


class Kept(dict[KeyT, ValueT]):
    """What a pure function answered, by what it was asked. Bounded: when full it begins anew; empty in a pickle."""

    def keep(self, key: KeyT, value: ValueT) -> ValueT:
        """Keep `value`, and give it back."""
        if len(self) >= _MOST:
            self.clear()
        self[key] = value
        return value

    def __reduce__(self) -> tuple[type[Kept[KeyT, ValueT]], tuple[()]]:
        return Kept, ()
