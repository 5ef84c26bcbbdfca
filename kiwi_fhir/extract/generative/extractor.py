"""The LLaMA extractor: windows are copied with mentions in tags, then each mention's sentence with its modifiers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from kiwi_fhir.extract.generative.marking import Answer, AnswerRefused, Backend, Task
from kiwi_fhir.extract.generative.passages import sentences, windows
from kiwi_fhir.extract.generative.prompts import Templates
from kiwi_fhir.extract.segment import Segments, segment
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Failure, Mention, MentionLabel, ModelId, Modifier, ModifierLabel, Note, Span


class GenerativeExtractor:
    """Finds mentions and modifiers by asking a back end; see `marking` for the questions.

    A window without a usable answer is a failure of the document, never a wrong span; where all windows are, the note
    has failed. A mention whose modifiers get none is left out, and a failure too: it may be one that the note denies.
    The spans of a note depend on its text alone, but for the rounding of sums in batches of other shapes.
    """

    def __init__(
        self, backend: Backend, templates: Templates, *, model_id: ModelId, mappings: Mappings | None = None
    ) -> None:
        self.model = model_id
        self.backend = backend
        self._templates, self._mappings = templates, mappings or Mappings.read()

    def count_windows(self, note: Note) -> int:
        """How many windows the model is asked about for mentions; each mention is one more question."""
        return len(self._passages(note.text)[2])

    def predict(self, notes: Sequence[Note]) -> list[Document]:
        """One document for each note, in order; the questions about all notes are asked together."""
        passages = [self._passages(note.text) for note in notes]
        places = [(index, window) for index, (_, _, found) in enumerate(passages) for window in found]
        failures: list[list[Failure]] = [[] for _ in notes]
        found: list[list[tuple[MentionLabel, Span, float | None]]] = [[] for _ in notes]
        refused = [0] * len(notes)
        template = self._templates.mentions
        answers = self.backend.mark(
            [
                Task(self._templates.ask_mentions(text), text, template.classes)
                for text in (window.of(notes[index].text) for index, window in places)
            ]
        )
        for (index, window), answer in zip(places, answers, strict=True):
            if isinstance(answer, AnswerRefused):
                refused[index] += 1
                failures[index].append(_failure(notes[index], window, answer, "window"))
                continue
            for label, span, score in self._on_note(answer, window):
                if not passages[index][0].structure.is_heading(span):
                    found[index].append((cast(MentionLabel, label), span, score))
        for index, (_, _, all_windows) in enumerate(passages):
            if refused[index] and refused[index] == len(all_windows):
                first = failures[index][0]
                message = f"None of its {len(all_windows)} windows got a usable answer; the first: {first.message}"
                failures[index] = [Failure(first.note_id, first.stage, first.error, message)]
        modifiers = self._modifiers(notes, passages, found, failures)
        # A mention whose modifiers are not known may be denied or a relative's: it is not stated.
        return [
            Document(
                note,
                tuple(
                    Mention(label, span, held, score, passages[index][0].structure.kind_at(span.start))
                    for (label, span, score), held in zip(found[index], modifiers[index], strict=True)
                    if held is not None
                ),
                self.model,
                (),
                tuple(failures[index]),
            )
            for index, note in enumerate(notes)
        ]

    def _passages(self, text: str) -> tuple[Segments, list[Span], list[Span]]:
        """The note cut up, its sentences, its windows."""
        cut = segment(text, self._mappings)
        parts = sentences(cut, self._templates.window)
        return cut, parts, windows(parts, self._templates.window)

    def _modifiers(
        self,
        notes: Sequence[Note],
        passages: Sequence[tuple[Segments, list[Span], list[Span]]],
        found: Sequence[list[tuple[MentionLabel, Span, float | None]]],
        failures: Sequence[list[Failure]],
    ) -> list[list[tuple[Modifier, ...] | None]]:
        """The modifiers of each mention, asked for in its sentence (in all that it touches); None without an answer."""
        tasks: list[Task] = []
        places: list[tuple[int, Span]] = []
        for index, note in enumerate(notes):
            parts = passages[index][1]
            starts = [part.start for part in parts]
            for label, span, _ in found[index]:
                first = max(0, bisect_right(starts, span.start) - 1)
                last = max(first, bisect_right(starts, span.end - 1) - 1)
                part = Span(parts[first].start, max(parts[last].end, span.end))
                text = part.of(note.text)
                prompt = self._templates.ask_modifiers(label, text, span.start - part.start, span.end - part.start)
                tasks.append(Task(prompt, text, self._templates.modifiers[label].classes))
                places.append((index, part))
        held: list[list[tuple[Modifier, ...] | None]] = [[] for _ in notes]
        for (index, part), answer in zip(places, self.backend.mark(tasks), strict=True):
            if isinstance(answer, AnswerRefused):
                what = "modifiers of a mention, which is left out, in"
                failures[index].append(_failure(notes[index], part, answer, what))
                held[index].append(None)
                continue
            held[index].append(
                tuple(
                    Modifier(cast(ModifierLabel, label), span, score)
                    for label, span, score in self._on_note(answer, part)
                )
            )
        return held

    def _on_note(self, answer: Answer, part: Span) -> list[tuple[str, Span, float | None]]:
        assert not isinstance(answer, AnswerRefused)  # noqa: S101 (the caller looked)
        return [
            (self._templates.label_of(mark.label), Span(part.start + mark.start, part.start + mark.end), mark.score)
            for mark in answer
        ]


def _failure(note: Note, part: Span, refused: AnswerRefused, what: str) -> Failure:
    where = f"characters {part.start}-{part.end}"
    message = f"The {what} {where} got no usable answer: {refused.message}"
    return Failure(note.id, "extract", refused.reason, message, kept=True)


def load_local(
    folder: Path,
    config: dict[str, Any],
    templates: Templates,
    *,
    model_id: ModelId,
    threads: int | None = None,
    device: str | None = None,
    mappings: Mappings | None = None,
    four_bit: bool = False,
    constrained: bool = True,
) -> GenerativeExtractor:
    """The extractor of a model folder on this machine: the base with its adapters merged, or whole weights.

    With several GPUs the layers are spread over them. `four_bit` keeps the base in nf4 (extra `qlora`, CUDA) and the
    adapters beside it. Raises ModelError when the folder is not whole.
    """
    from kiwi_fhir.errors import ModelError
    from kiwi_fhir.extract.base import quiet_peft
    from kiwi_fhir.extract.device import best_dtype, choose_device, set_threads
    from kiwi_fhir.extract.generative.local import LocalBackend
    from kiwi_fhir.extract.llama_base import load_llama

    set_threads(threads)
    place = choose_device(device)
    spread = None if place.type == "cpu" else "auto" if place.type == "cuda" else place.type
    model, tokenizer = load_llama(str(config["base"]), dtype=best_dtype(place), device_map=spread, four_bit=four_bit)
    if (folder / "adapter_config.json").is_file():
        from peft import PeftModel
        from safetensors import SafetensorError

        try:
            with quiet_peft():
                adapted = PeftModel.from_pretrained(model, str(folder))
                model = adapted.base_model.model if four_bit else adapted.merge_and_unload()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"The model folder '{folder.name}' is damaged or does not fit its base ({type(error).__name__}): "
                "train it again or get it whole."
            ) from error
    model.eval().requires_grad_(False)
    backend = LocalBackend(model, tokenizer, templates, constrained=constrained)
    return GenerativeExtractor(backend, templates, model_id=model_id, mappings=mappings)
