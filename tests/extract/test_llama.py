"""The LLaMA extractor: questions and answers on notes, model folders, and what goes wrong."""

import json

import pytest
from tiny_llamas import byte_level_tokenizer, save_llama

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract import ModelChoice, extract, load
from kiwi_fhir.extract.generative.extractor import GenerativeExtractor
from kiwi_fhir.extract.generative.marking import AnswerRefused
from kiwi_fhir.extract.generative.markup import read
from kiwi_fhir.extract.generative.prompts import TEMPLATES, load_templates
from kiwi_fhir.types import Document, Failure, ModelId, Note, Span

MODEL = ModelId("recorded", "1")
NOTE = Note(
    "n1",
    "ASSESSMENT: He has severe chest pain but no fever.\r\nMEDICATIONS: aspirin 81 mg daily.\nAllergies:\n",
)
#: Answers written down by hand: for windows by what they begin with, for modifiers by the marked mention.
ANSWERS = {
    "ASSESSMENT": (
        'ASSESSMENT: He has <span class="problem">severe chest pain</span> but no <span class="problem">fever</span>.\n'
        'MEDICATIONS: <span class="drug">aspirin</span> 81 mg daily.\n<span class="problem">Allergies</span>:'
    ),
    "severe chest pain": 'ASSESSMENT: He has <span class="severity">severe</span> <span class="bodyloc">chest</span> '
    "pain but no fever.",
    "fever": 'ASSESSMENT: He has severe chest pain but <span class="negation">no</span> fever.',
    "aspirin": 'MEDICATIONS: aspirin <span class="strength">81 mg</span> <span class="frequency">daily</span>.',
}


class Recorded:
    """Answers from a table, read as a server's are; what is not there is refused."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def mark(self, tasks):
        found = []
        for task in tasks:
            self.asked.append(task)
            marked = task.prompt.split("Text:\n")[1].split("\n\nMarked:")[0]
            key = marked.split(">")[1].split("</")[0] if marked != task.source else marked.split(":")[0]
            said = self.answers.get(key)
            if said is None:
                found.append(AnswerRefused("other-text", "The answer is another text."))
            else:
                found.append(read(said, task, load_templates().tags))
        return found


def extractor(answers=ANSWERS):
    return GenerativeExtractor(Recorded(answers), load_templates(), model_id=MODEL)


def words(document):
    text = document.note.text
    return {
        mention.span.of(text): (
            mention.label,
            {modifier.label: modifier.span.of(text) for modifier in mention.modifiers},
            mention.section,
        )
        for mention in document.mentions
    }


def test_mentions_then_their_modifiers():
    made = extractor()
    (document,) = made.predict([NOTE])
    assert words(document) == {
        "severe chest pain": ("problem", {"severity": "severe", "bodyloc": "chest"}, "assessment"),
        "fever": ("problem", {"negation": "no"}, "assessment"),
        "aspirin": ("drug", {"strength": "81 mg", "frequency": "daily"}, "current_medications"),
    }
    assert document.failures == ()
    assert document.unlinked == ()
    asked = made.backend.asked
    assert [task.labels for task in asked[1:]] == [
        load_templates().modifiers[label].classes for label in ("problem", "problem", "drug")
    ]
    assert '<span class="drug">aspirin</span> 81 mg daily.' in asked[3].prompt
    assert made.count_windows(NOTE) == 1


def test_a_window_without_an_answer_is_a_failure_of_that_window():
    text = NOTE.text + "\n" + "x " * 300 + "\n"
    (document,) = extract(extractor(), [Note("n2", text)])
    assert len(words(document)) == 3
    failures = document.failures
    assert {failure.error for failure in failures} == {"other-text"}
    assert len(failures) >= 1
    assert all(failure.kept and failure.note_id == "n2" and failure.stage == "extract" for failure in failures)
    assert "characters 98-" in failures[0].message
    assert "x x" not in failures[0].message


def test_modifiers_without_an_answer_cost_the_mention():
    """A fever whose "no" was not read must not be stated."""
    answers = {key: said for key, said in ANSWERS.items() if key != "fever"}
    (document,) = extract(extractor(answers), [NOTE])
    assert words(document).keys() == {"severe chest pain", "aspirin"}
    assert [failure.message.split(" got")[0] for failure in document.failures] == [
        "The modifiers of a mention, which is left out, in characters 0-50"
    ]


def test_a_note_without_any_answer_has_failed():
    results = extract(extractor({}), [NOTE, Note("empty", "")])
    assert isinstance(results[0], Failure)
    assert not results[0].kept
    assert (results[0].note_id, results[0].stage, results[0].error) == ("n1", "extract", "other-text")
    assert results[1] == Document(Note("empty", ""), (), MODEL)


def test_a_mention_over_two_sentences_is_asked_about_in_both():
    text = "He had pain. In the chest it was."
    answers = {
        text: 'He had <span class="problem">pain. In the chest</span> it was.',
        "pain. In the chest": 'He had pain. In the <span class="bodyloc">chest</span> it was.',
    }
    made = extractor(answers)
    (document,) = made.predict([Note("n", text)])
    assert [mention.span for mention in document.mentions] == [Span(7, 25)]
    assert made.backend.asked[1].source == text
    assert [modifier.span.of(text) for modifier in document.mentions[0].modifiers] == ["chest"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("models") / "tiny", byte_level_tokenizer())


def test_a_folder_of_transformers_is_a_model(folder):
    made = load(str(folder), threads=1)
    name, released = ModelChoice(str(folder)).identify()
    assert made.model == name
    assert released is None
    assert str(name).startswith("tiny-0-")
    again = load(str(folder), threads=1)
    notes = [NOTE, Note("n2", ""), Note("n3", "Pain 😀 & <b>.\n")]
    documents = made.predict(notes)
    assert documents == again.predict(notes)
    assert [document.failures for document in documents] == [(), (), ()], "constrained: nothing is refused"
    for document in documents:
        for mention in document.mentions:
            held = mention.span.of(document.note.text)
            assert held == held.strip() != ""


def test_a_model_that_writes_freely_states_no_scores(folder):
    """It copies nothing, so what it writes by chance is refused; recorded answers stand for those of a good one."""
    (document,) = extractor().predict([NOTE])
    assert document.mentions
    held = [modifier for mention in document.mentions for modifier in mention.modifiers]
    assert {found.score for found in (*document.mentions, *held)} == {modifier.link for modifier in held} == {None}
    assert ModelChoice(str(folder)).states_scores
    assert not ModelChoice(str(folder), unconstrained=True).states_scores
    assert not ModelChoice("http://127.0.0.1:1/v1").states_scores


def test_templates_of_ones_own(folder, tmp_path):
    for file in TEMPLATES.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = (tmp_path / "templates.toml").read_text()
    table = table.replace("open = '<span class=\"{label}\">'", "open = '[{label}: '").replace('"</span>"', '"]"')
    table = table.replace('labels = ["problem", "test", "drug", "treatment"]', 'labels = ["PROBLEM", "DRUG"]')
    table = table.replace("[mentions]", '[names]\nPROBLEM = "problem"\nDRUG = "drug"\n\n[mentions]')
    (tmp_path / "templates.toml").write_text(table)
    choice = ModelChoice(str(folder), templates=str(tmp_path))
    assert choice.identify() != ModelChoice(str(folder)).identify(), "other prompts, another name"
    made = choice.load(threads=1)
    labels = {mention.label for mention in made.predict([NOTE])[0].mentions}
    assert labels <= {"problem", "drug"}
    assert labels
    templates = load_templates(tmp_path)
    assert "[PROBLEM: pain]" in templates.ask_modifiers("problem", "no pain.", 3, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.replace("window = 500", "window = 0"), "has no usable 'window'"),
        (lambda table: table.replace('"drug", "treatment"]', '"drug", "pill"]'), "has no usable 'mentions.labels'"),
        (lambda table: table.replace('"labvalue", "reference_range"', '"labvalue", "dosage"'), "modifiers.test.labels"),
        (lambda table: table.replace("mentions.txt", "nothing.txt"), "can't be read as UTF-8"),
        (lambda table: table.replace("{label}", "x"), "has no usable 'open'"),
        (lambda table: table + "[", "is no TOML"),
    ],
)
def test_templates_that_are_wrong_are_named(tmp_path, change, message):
    for file in TEMPLATES.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "templates.toml").write_text(change((TEMPLATES / "templates.toml").read_text()))
    with pytest.raises(ModelError, match=message):
        load_templates(tmp_path)


def test_options_of_a_llama_are_refused_for_a_bert():
    with pytest.raises(ModelError, match="--unconstrained is for LLaMA models that write: 'default' is a BERT"):
        ModelChoice("default", unconstrained=True).identify()
    with pytest.raises(ModelError, match="nothing else"):
        ModelChoice("http://127.0.0.1:1/v1?modle=x").identify()


def test_folders_that_are_not_whole_are_refused(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="can't be loaded"):
        load(str(tmp_path), threads=1)
    config["architectures"] = ["LlamaModel"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="lacks the int 'format'"):
        load(str(tmp_path), threads=1)


def test_four_bits_without_a_gpu_are_refused(folder):
    with pytest.raises(ModelError, match="need a CUDA device and bitsandbytes"):
        ModelChoice(str(folder), four_bit=True).load(threads=1, device="cpu")
