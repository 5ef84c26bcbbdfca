"""The BERT extractor: a model folder, one pass per window, spans back on the note."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract.base import base_sha256, load_base, quiet_peft
from kiwi_fhir.extract.calibration import IDENTITY, Line, lines_of
from kiwi_fhir.extract.device import best_dtype, choose_device, return_memory, set_threads
from kiwi_fhir.extract.folder import model_id, read_config
from kiwi_fhir.extract.segment import Segments, segment
from kiwi_fhir.extract.tagger.decode import decode, probable
from kiwi_fhir.extract.tagger.delta import add_delta
from kiwi_fhir.extract.tagger.model import MAX_WORDS, Heads, JointModel, WordSpan, collate, pair_features
from kiwi_fhir.extract.tagger.windows import Window, Windower, batches
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import MENTION_LABELS, MODIFIER_LABELS, Document, Mention, ModelId, Modifier, Note, Span

LINK_THRESHOLD = 0.5
#: Padded tokens a batch: on a processor what stays in its caches, on a GPU what fills it.
BATCH_TOKENS = {"cpu": 2048, "mps": 16_384, "cuda": 65_536}
#: The device that is the processor, with another engine than torch.
OPENVINO = "openvino"

#: (label index, first word, last word + 1, score) of a window
_Scored = tuple[WordSpan, float]
_Result = TypeVar("_Result")


class TaggerExtractor:
    """Finds mentions and modifiers with a JointModel.

    The spans of a note depend on its text alone: windows never cross notes, and padding is masked.
    """

    def __init__(
        self,
        model: JointModel,
        tokenizer: Any,
        *,
        model_id: ModelId,
        window: int,
        device: torch.device | None = None,
        batch_tokens: int | None = None,
        mappings: Mappings | None = None,
        lines: tuple[Line, Line] = (IDENTITY, IDENTITY),
    ) -> None:
        """`lines` calibrate the scores of mentions and of modifiers."""
        self.model = model_id
        self._joint = model
        self._windower = Windower(tokenizer, window)
        self._pad = tokenizer.pad_token_id or 0
        self._device = device or torch.device("cpu")
        self._budget = batch_tokens or BATCH_TOKENS[self._device.type]
        self._mappings = mappings or Mappings.read()
        self._lines = lines

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        batch_tokens: int | None = None,
        mappings: Mappings | None = None,
    ) -> TaggerExtractor:
        """The extractor of a model folder, its adapter merged into the base.

        `device` is one of torch's or `openvino`: the processor, with OpenVINO for the encoder.
        `dtype` is the encoder's (default: bf16 where the device computes in it, else fp32; with OpenVINO int8 for the
        matrix products, too); the heads stay in fp32.
        Raises ModelError when the folder is not whole.
        """
        set_threads(threads)
        place = choose_device("cpu" if device == OPENVINO else device)
        config = read_config(folder)
        encoder, tokenizer = load_base(str(config["base"]))
        known, found = config.get("base_sha256"), base_sha256(str(config["base"]))
        if known and found and known != found:
            raise ModelError(
                f"The model folder '{folder.name}' was trained on other weights than '{config['base']}' has here: "
                "get the base that it was trained on, or train it again."
            )
        heads = Heads(encoder.config.hidden_size)
        from peft import PeftModel
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            if (folder / "adapter_config.json").is_file():
                with quiet_peft():
                    adapted = PeftModel.from_pretrained(encoder, str(folder), torch_device="cpu")
                    encoder = adapted.merge_and_unload()
            else:
                add_delta(encoder, load_file(folder / "delta.safetensors"))
            heads.load_state_dict(
                {key: value.float() for key, value in load_file(folder / "heads.safetensors").items()}
            )
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"The model folder '{folder.name}' is damaged or does not fit its base ({type(error).__name__}): "
                "train it again or get it whole."
            ) from error
        encoder, numbers = encoder.eval().requires_grad_(False), dtype or best_dtype(place)
        if device == OPENVINO:
            from kiwi_fhir.extract.tagger.openvino import OpenVinoEncoder

            encoder = OpenVinoEncoder(encoder, threads=torch.get_num_threads(), dtype=numbers, int8=dtype is None)
        else:
            encoder.to(numbers)
        joint = JointModel(encoder, heads).eval().requires_grad_(False)
        return cls(
            joint.to(place),
            tokenizer,
            model_id=model_id(folder, config),
            window=int(config["window"]),
            device=place,
            batch_tokens=batch_tokens,
            mappings=mappings,
            lines=lines_of(config),
        )

    def count_windows(self, note: Note) -> int:
        """How many windows the model reads for `note`."""
        return len(self._windower.windows(note.text, segment(note.text, self._mappings)))

    def predict(self, notes: Sequence[Note]) -> list[Document]:
        """One document for each note, in order; windows of all notes are sorted by length and run in batches."""
        segments = [segment(note.text, self._mappings) for note in notes]
        places: list[tuple[int, Window]] = [
            (index, window)
            for index, (note, cut) in enumerate(zip(notes, segments, strict=True))
            for window in self._windower.windows(note.text, cut)
        ]
        results: list[tuple[list[Mention], list[Modifier]] | None] = [None] * len(places)
        for batch in batches([len(window.pieces) for _, window in places], self._budget):
            windows = [places[index][1] for index in batch]
            for index, spans in zip(batch, _halving(self._forward, windows), strict=True):
                note, window = places[index]
                results[index] = _on_note(window, segments[note], *spans)
        mentions: list[list[Mention]] = [[] for _ in notes]
        unlinked: list[list[Modifier]] = [[] for _ in notes]
        for (index, _), result in zip(places, results, strict=True):
            if result is not None:
                mentions[index].extend(result[0])
                unlinked[index].extend(result[1])
        return_memory()
        return [
            Document(note, tuple(mentions[index]), self.model, tuple(unlinked[index]))
            for index, note in enumerate(notes)
        ]

    def probabilities(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the taggers think of every word of `texts`, one after the other as `segment` cuts them.

        Probabilities in fp16, on the CPU, of the spans that begin at each word: mentions [W, MAX_WORDS, 5] and
        modifiers [W, MAX_WORDS, 17], as Heads.tags has them; zeros for a span that no window holds whole.
        """
        windows = [window for text in texts for window in self._windower.windows(text, segment(text, self._mappings))]
        found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for chosen in batches([len(window.pieces) for window in windows], self._budget):
            found |= zip(chosen, _halving(self._probabilities, [windows[index] for index in chosen]), strict=True)
        none = (
            torch.empty(0, MAX_WORDS, 1 + len(labels), dtype=torch.float16)
            for labels in (MENTION_LABELS, MODIFIER_LABELS)
        )
        in_order = zip(none, *(found[index] for index in range(len(windows))), strict=True)
        of_mentions, of_modifiers = (torch.cat(parts) for parts in in_order)
        return of_mentions, of_modifiers

    def _probabilities(self, windows: list[Window]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        with torch.inference_mode():
            batch = collate(windows, self._pad).to(self._device)
            logits = self._joint.heads.tags(self._joint(batch))
            mentions, modifiers = (probable(each, batch.word_mask).to(torch.float16).cpu() for each in logits)
        sizes = [len(window.heads) for window in windows]
        return [(mentions[row, :size].clone(), modifiers[row, :size].clone()) for row, size in enumerate(sizes)]

    def _forward(self, windows: list[Window]) -> list[tuple[list[_Scored], list[_Scored], list[list[float]]]]:
        with torch.inference_mode():
            batch = collate(windows, self._pad).to(self._device)
            words = self._joint(batch)
            mention_logits, modifier_logits = self._joint.heads.tags(words)
            mentions = decode(mention_logits, batch.word_mask, self._lines[0])
            modifiers = decode(modifier_logits, batch.word_mask, self._lines[1])
            rows: list[list[int]] = []
            owners: list[tuple[int, int, int]] = []
            for row, window in enumerate(windows):
                pairs = pair_features(
                    [span for span, _ in mentions[row]], [span for span, _ in modifiers[row]], window.sentences
                )
                rows.extend([row, *pair[2:]] for pair in pairs)
                owners.extend((row, pair[0], pair[1]) for pair in pairs)
            links: list[list[list[float]]] = [[] for _ in windows]
            if rows:
                logits = self._joint.heads.links(words, torch.tensor(rows, device=self._device))
                for (row, mention, modifier), score in zip(owners, logits.sigmoid().tolist(), strict=True):
                    if score >= LINK_THRESHOLD:
                        links[row].append([mention, modifier, score])
        return list(zip(mentions, modifiers, links, strict=True))


def _halving(forward: Callable[[list[Window]], list[_Result]], windows: list[Window]) -> list[_Result]:
    """`forward(windows)`, in halves where they do not fit in memory together."""
    try:
        return forward(windows)
    except (MemoryError, torch.OutOfMemoryError):
        if len(windows) == 1:
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(windows) // 2
        return _halving(forward, windows[:half]) + _halving(forward, windows[half:])


def _on_note(
    window: Window, segments: Segments, mentions: list[_Scored], modifiers: list[_Scored], links: list[list[float]]
) -> tuple[list[Mention], list[Modifier]]:
    """A window's spans on the note's text, each mention with its modifiers; and the modifiers left over."""

    def place(span: WordSpan) -> Span:
        first, last = window.first + span[1], window.first + span[2] - 1
        return Span(segments.words[first][0], segments.words[last][1])

    linked: dict[int, list[tuple[int, float | None]]] = {}
    for mention, modifier, score in links:
        linked.setdefault(int(mention), []).append((int(modifier), score))

    def held(pairs: Iterable[tuple[int, float | None]]) -> tuple[Modifier, ...]:
        return tuple(
            Modifier(
                MODIFIER_LABELS[modifiers[index][0][0]],
                place(modifiers[index][0]),
                round(modifiers[index][1], 4),
                None if link is None else round(link, 4),
            )
            for index, link in sorted(pairs)
        )

    found = []
    used: set[int] = set()
    for index, (span, score) in enumerate(mentions):
        where = place(span)
        if segments.structure.is_heading(where):
            continue
        used.update(modifier for modifier, _ in linked.get(index, ()))
        found.append(
            Mention(
                MENTION_LABELS[span[0]],
                where,
                held(linked.get(index, ())),
                round(score, 4),
                segments.structure.kind_at(where.start),
            )
        )
    return found, list(held((index, None) for index in range(len(modifiers)) if index not in used))
