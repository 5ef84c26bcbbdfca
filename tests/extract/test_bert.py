"""The shipped model on notes of our own: offsets, grouping, huge and empty notes, damaged folders."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from kiwi_fhir.errors import ModelError, NoteError
from kiwi_fhir.extract import DEFAULT_MODEL, ModelChoice, chunks, extract, load
from kiwi_fhir.extract.device import choose_device
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.types import ALLOWED_PAIRS, Document, Failure, ModelId, Note, Span

NOTES = [
    Note(
        "ed",
        "HISTORY OF PRESENT ILLNESS: 54-year-old man with severe chest pain since yesterday. He denies fever, chills "
        "or cough.\r\n\r\nMEDICATIONS:\r\n1. Metoprolol 25 mg by mouth twice daily.\r\n2. Aspirin 81 mg daily.\r\n",
    ),
    Note("labs", "LABORATORY DATA: Hemoglobin 12.4, potassium 5.1, creatinine 1.3.\nCT of the abdomen was normal."),
    Note("empty", ""),
    Note("blank", " \r\n\t\0\n"),
    Note("odd", "Temp 38.5 °C – “crackles” in the left lower lobe; ≥3 stools/day… no émesis 👩‍⚕️."),
    Note("pretokenised", "The patient has no fever , no chest pain ; blood pressure 120 / 80 ."),
    Note("short", "Pneumonia."),
]


@pytest.fixture(scope="module")
def extractor():
    return load(device="cpu")


def everything(document):
    return [
        *document.mentions,
        *(held for mention in document.mentions for held in mention.modifiers),
        *document.unlinked,
    ]


def bare(document):
    """Spans and labels without scores."""
    return [
        (mention.label, mention.span, [(held.label, held.span) for held in mention.modifiers])
        for mention in document.mentions
    ]


def test_one_document_a_note_in_order_and_named_by_the_model(extractor):
    documents = extractor.predict(NOTES)
    assert [document.note for document in documents] == NOTES
    assert {document.model for document in documents} == {extractor.model}
    assert str(extractor.model).startswith("kiwi-minilm-0.4.0-")


def test_what_a_clinician_would_mark(extractor):
    document, labs, *_ = extractor.predict(NOTES)
    found = {(mention.label, mention.span.of(document.note.text).lower()): mention for mention in document.mentions}
    assert ("problem", "severe chest pain") in found
    assert ("drug", "metoprolol") in found
    assert ("drug", "aspirin") in found
    for problem in ("fever", "chills", "cough"):
        held = found["problem", problem].modifiers
        assert "negation" in {modifier.label for modifier in held}, problem
    strength = {
        modifier.label: modifier.span.of(document.note.text) for modifier in found["drug", "metoprolol"].modifiers
    }
    assert strength["strength"] == "25 mg"
    values = {
        mention.span.of(labs.note.text): held.span.of(labs.note.text)
        for mention in labs.mentions
        for held in mention.modifiers
        if held.label == "labvalue"
    }
    assert values["Hemoglobin"] == "12.4"
    assert values["potassium"] == "5.1"


def test_spans_lie_on_whole_words_of_the_untouched_text(extractor):
    for document in extractor.predict(NOTES):
        text = document.note.text
        for found in everything(document):
            piece = found.span.of(text)
            assert piece == piece.strip() != ""
            assert 0.0 < found.score <= 1.0
            before, after = text[: found.span.start][-1:], text[found.span.end :][:1]
            assert not (before.isalnum() and piece[0].isalnum())
            assert not (after.isalnum() and piece[-1].isalnum())


def test_only_allowed_pairs_are_linked(extractor):
    linked = [
        (mention.label, held)
        for document in extractor.predict(NOTES)
        for mention in document.mentions
        for held in mention.modifiers
    ]
    assert linked
    for label, held in linked:
        assert held.label in ALLOWED_PAIRS[label]
        assert 0.5 <= held.link <= 1.0


def test_one_modifier_may_qualify_several_mentions(extractor):
    (document,) = extractor.predict([Note("n", "The patient denies fever, chills, nausea or vomiting.")])
    negations = [held.span for mention in document.mentions for held in mention.modifiers if held.label == "negation"]
    assert len(negations) >= 3
    assert len(set(negations)) == 1


@pytest.mark.parametrize("tokens", [1, 256, 100_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_spans_at_every_batch_size(tokens, dtype, batch_notes):
    one = TaggerExtractor.load(ModelChoice(DEFAULT_MODEL).folder, device="cpu", dtype=dtype, batch_tokens=2048)
    other = TaggerExtractor.load(ModelChoice(DEFAULT_MODEL).folder, device="cpu", dtype=dtype, batch_tokens=tokens)
    assert [bare(document) for document in other.predict(batch_notes)] == [
        bare(document) for document in one.predict(batch_notes)
    ]


@pytest.fixture(scope="module")
def batch_notes(synthetic_note):
    return [*NOTES, *(Note(f"s{seed}", synthetic_note(seed, 1500)) for seed in range(6))]


def test_a_note_is_read_alike_alone_and_among_others(extractor, batch_notes):
    together = extractor.predict(batch_notes)
    alone = [extractor.predict([note])[0] for note in batch_notes]
    assert [bare(document) for document in together] == [bare(document) for document in alone]


def test_a_megabyte_is_read_to_its_end(extractor):
    filler = "The patient was seen and examined at the bedside by the whole team this morning. " * 12_800
    note = Note("huge", filler + "He has pneumonia.")
    assert len(note.text) > 1_000_000
    (document,) = extractor.predict([note])
    assert document.mentions[-1].span == Span(len(note.text) - 10, len(note.text) - 1)
    assert document.mentions[-1].span.of(note.text) == "pneumonia"


class _Stubborn:
    """Fails on any group that holds the note `bad`, as a model does that meets what it can't read."""

    model = ModelId("stubborn", "1")

    def __init__(self, error):
        self.error = error
        self.groups = []

    def predict(self, notes):
        self.groups.append(len(notes))
        if any(note.id == "bad" for note in notes):
            raise self.error
        return [Document(note, (), self.model) for note in notes]

    def count_windows(self, note):
        return 1


@pytest.mark.parametrize(
    ("error", "reason", "at"),
    [
        (MemoryError(), "out-of-memory", None),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out-of-memory", None),
        (ValueError("SECRET NOTE TEXT"), "model-error", r"kiwi_fhir\.extract\.engine:\d+"),
        (NoteError("too-odd", "This note is too odd."), "too-odd", None),
    ],
)
def test_a_bad_note_costs_itself_only(error, reason, at):
    notes = [Note(str(index), "x") for index in range(9)] + [Note("bad", "SECRET NOTE TEXT")]
    results = extract(_Stubborn(error), notes)
    assert [result.note.id for result in results[:9]] == [note.id for note in notes[:9]]
    (failure,) = [result for result in results if isinstance(result, Failure)]
    assert (failure.note_id, failure.stage, failure.error) == ("bad", "extract", reason)
    assert "SECRET" not in failure.message
    assert failure.at is None if at is None else re.fullmatch(at, failure.at)


def test_a_lost_device_is_no_heap_of_failures():
    with pytest.raises(RuntimeError, match="CUDA error"):
        extract(_Stubborn(RuntimeError("CUDA error: device-side assert triggered")), [Note("bad", "x")] * 3)


def test_out_of_memory_halves_the_batch(extractor, monkeypatch):
    expected = extractor.predict(NOTES)
    forward = extractor._forward
    sizes = []

    def tight(windows):
        sizes.append(len(windows))
        if len(windows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(windows)

    monkeypatch.setattr(extractor, "_forward", tight)
    assert [bare(document) for document in extractor.predict(NOTES)] == [bare(document) for document in expected]
    assert max(sizes) > 2


def test_chunks_keep_order_and_bounds():
    notes = [Note(str(index), "x" * size) for index, size in enumerate([10, 500_000, 10, *[3000] * 300])]
    parts = list(chunks(notes))
    assert [note for part in parts for note in part] == notes
    assert all(
        len(part) <= 128 and (len(part) == 1 or sum(len(note.text) for note in part) <= 400_000) for part in parts
    )


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "model"
    shutil.copytree(ModelChoice(DEFAULT_MODEL).folder, target)
    return target


def test_a_folder_without_config_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"base": 7}, "lacks the str 'base'"),
        ({"calibration": {"mentions": [1]}}, "not a slope over 0"),
        ({"calibration": {"mentions": [-1, 0]}}, "not a slope over 0"),
        ({"calibration": {"modifiers": [float("inf"), 0]}}, "not a slope over 0"),
        ({"calibration": {"modifiers": [1, float("nan")]}}, "not a slope over 0"),
        ({"calibration": {"modifiers": "12"}}, "not a slope over 0"),
        ({"calibration": "no"}, "not a slope over 0"),
        ({"mentions": ["problem"]}, "other labels"),
        ({"base": "no/such/folder"}, "can't be loaded"),
        ({"base_sha256": 64 * "0"}, "other weights"),
    ],
)
def test_a_wrong_config_is_named(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        load(str(folder), device="cpu")


def test_damaged_weights_are_named(folder):
    path = folder / "heads.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged"):
        load(str(folder), device="cpu")


def test_two_models_never_share_a_name(folder, extractor):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"window": 128}))
    assert load(str(folder), device="cpu").model != extractor.model


def test_an_absent_device_is_named():
    with pytest.raises(ModelError, match="is not there"):
        choose_device("tpu")


def test_a_section_header_is_no_mention(extractor):
    text = "ALLERGIES: None.\nMEDICATIONS:\n1. Aspirin 81 mg daily.\nVITAL SIGNS: Pulse 80.\n"
    (document,) = extractor.predict([Note("n", text)])
    found = {mention.span.of(text) for mention in document.mentions}
    assert "Aspirin" in found
    assert not found & {"ALLERGIES", "MEDICATIONS", "VITAL SIGNS"}


def test_mention_text_is_never_changed_by_the_section(extractor):
    (document,) = extractor.predict([Note("n", "FAMILY HISTORY: Mother with breast cancer.")])
    assert {mention.section for mention in document.mentions} == {"family_history"}
    assert replace(document.mentions[0], section=None).span == document.mentions[0].span
