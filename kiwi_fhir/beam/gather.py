"""Notes gathered into batches, whatever their windows, and what says where each belongs.

Both ways end a batch at CHUNK_NOTES or CHUNK_CHARACTERS. The batch has the time of its earliest note: a watermark must
not pass what is still to come out.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam import coders
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

import kiwi_fhir.beam.coders  # noqa: F401 (registers them)
from kiwi_fhir.extract.engine import CHUNK_CHARACTERS, CHUNK_NOTES
from kiwi_fhir.types import Note

#: A note with its timestamp and its window, while it waits in the global one.
Held = tuple[Note, Timestamp, Any]

_WAIT = TimerSpec("wait", TimeDomain.REAL_TIME)
_END = TimerSpec("end", TimeDomain.WATERMARK)
_HELD_STATE = beam.DoFn.StateParam(
    BagStateSpec("held", coders.registry.get_coder(beam.typehints.Tuple[Note, Timestamp, Any]))
)
#: Notes, characters, when the batch is due (seconds since 1970) and its earliest timestamp (microseconds).
_TOTAL_STATE = beam.DoFn.StateParam(ReadModifyWriteStateSpec("total", coders.FastPrimitivesCoder()))
_WAIT_TIMER, _END_TIMER = beam.DoFn.TimerParam(_WAIT), beam.DoFn.TimerParam(_END)


class GatherNotes(beam.PTransform):
    """Notes to batches in the global window: within a bundle, or of unbounded input for `max_wait` seconds."""

    def __init__(self, max_wait: float) -> None:
        super().__init__()
        self._max_wait = max_wait

    def expand(self, notes: beam.PCollection[Note]) -> beam.PCollection[list[Held]]:
        """See the class."""
        held = notes | "Hold" >> beam.ParDo(_Hold()) | "Together" >> beam.WindowInto(GlobalWindows())
        if notes.is_bounded or self._max_wait <= 0:
            return held | "Gather" >> beam.ParDo(_Gather())
        keyed = held | "Key" >> beam.Map(_keyed).with_output_types(tuple[str, Held])
        return keyed | "Gather" >> beam.ParDo(_GatherAcrossBundles(self._max_wait))


@beam.typehints.with_input_types(Note)
@beam.typehints.with_output_types(Held)
class _Hold(beam.DoFn):
    """Puts a note's timestamp and window beside it, so that notes of all windows can share a batch."""

    def process(
        self, note: Note, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Held]:
        yield note, timestamp, window


def _keyed(held: Held) -> tuple[str, Held]:
    """State has a key. Ours is the process, so that each worker gathers for itself."""
    return f"{platform.node()}/{os.getpid()}", held


def _is_full(notes: int, characters: int) -> bool:
    return notes >= CHUNK_NOTES or characters >= CHUNK_CHARACTERS


def _batch(held: list[Held]) -> WindowedValue:
    """The batch at the time of its first note: the watermark must not pass what is still to come out."""
    return GlobalWindows.windowed_value(held, min(timestamp for _, timestamp, _ in held))


@beam.typehints.with_input_types(Held)
@beam.typehints.with_output_types(list[Held])
class _Gather(beam.DoFn):
    """Batches within a bundle. It never holds more than one: some runners hand over all input as one bundle."""

    def start_bundle(self) -> None:
        self._held: list[Held] = []
        self._characters = 0

    def process(self, held: Held) -> Iterator[WindowedValue]:
        self._held.append(held)
        self._characters += len(held[0].text)
        if _is_full(len(self._held), self._characters):
            yield from self.finish_bundle()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._held:
            yield _batch(self._held)
        self.start_bundle()


@beam.typehints.with_input_types(tuple[str, Held])
@beam.typehints.with_output_types(list[Held])
class _GatherAcrossBundles(beam.DoFn):
    """Batches across the bundles of unbounded input.

    Two timers end a batch that does not fill: one `max_wait` seconds after its first note, which holds the watermark
    at the earliest note until then, and one when the watermark reaches the end of that note's window.
    """

    def __init__(self, max_wait: float) -> None:
        self._max_wait = max_wait

    def process(
        self,
        keyed: tuple[str, Held],
        held: Any = _HELD_STATE,
        total: Any = _TOTAL_STATE,
        wait: Any = _WAIT_TIMER,
        end: Any = _END_TIMER,
    ) -> Iterator[WindowedValue]:
        note, timestamp, window = keyed[1]
        held.add(keyed[1])
        notes, characters, due, earliest = total.read() or (0, 0, time.time() + self._max_wait, None)
        notes, characters = notes + 1, characters + len(note.text)
        if _is_full(notes, characters):
            wait.clear()
            end.clear()
            yield from self._flush(held, total)
            return
        if earliest is None or timestamp.micros < earliest:
            earliest = timestamp.micros
            wait.set(due)
            end.set(window.end)
        total.write((notes, characters, due, earliest))

    @on_timer(_WAIT)
    def waited(
        self, held: Any = _HELD_STATE, total: Any = _TOTAL_STATE, end: Any = _END_TIMER
    ) -> Iterator[WindowedValue]:
        """The first note has waited long enough."""
        end.clear()
        yield from self._flush(held, total)

    @on_timer(_END)
    def ended(
        self, held: Any = _HELD_STATE, total: Any = _TOTAL_STATE, wait: Any = _WAIT_TIMER
    ) -> Iterator[WindowedValue]:
        """The window of the earliest note ends: on time is now."""
        wait.clear()
        yield from self._flush(held, total)

    def _flush(self, held: Any, total: Any) -> Iterator[WindowedValue]:
        batch = list(held.read())
        held.clear()
        total.clear()
        if batch:
            yield _batch(batch)
