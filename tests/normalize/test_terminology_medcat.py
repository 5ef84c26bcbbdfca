"""MedCAT for real: databases built here, a pack trained and saved here."""

import os
import pickle
import re

import numpy
import pytest

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.normalize.terminology import load_linker
from kiwi_fhir.types import Document, Mention, Note, Span

ROWS = """\
name,code,system,type,display
multiple sclerosis,G35,ICD10CM,problem,Multiple sclerosis
MS,G35,ICD10CM,problem,Multiple sclerosis
mitral stenosis,I34.2,ICD10CM,problem,Mitral stenosis
MS,I34.2,ICD10CM,problem,Mitral stenosis
MS,7052,RxNorm,drug,morphine
"heart failure, left-sided",I50.1,ICD10CM,problem,Left ventricular failure
µ-opioid use,F11.9,ICD10CM,problem,Opioid use
"""


def document(marked: str) -> Document:
    """A document of a text with `[words](label)`."""
    text, mentions = "", []
    for before, words, label in re.findall(r"([^[]*)(?:\[([^]]+)\]\((\w+)\))?", marked):
        text += before
        if words:
            mentions.append(Mention(label, Span(len(text), len(text) + len(words))))
            text += words
    return Document(Note("1", text), tuple(mentions))


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("medcat") / "names.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def codes(linker, marked):
    return [tuple(coding.code for coding in found) for found in linker.codings(document(marked))]


def test_a_database_from_a_csv_links_our_spans(names):
    linker, digest = load_linker(str(names), medcat=True)
    assert re.fullmatch("[0-9a-f]{64}", digest)
    text = "é\r\nHas [Multiple\r\nSclerosis](problem), [heart failure (left-sided)](problem), [gout](problem)."
    assert codes(linker, text) == [("G35",), ("I50.1",), ()]
    (found,), *_ = linker.codings(document(text))
    assert (found.system, found.display, found.method, found.score) == (
        "http://hl7.org/fhir/sid/icd-10-cm",
        "Multiple sclerosis",
        "medcat",
        1.0,
    )


def test_the_kind_of_mention_decides_and_two_meanings_give_no_code(names):
    linker, _ = load_linker(str(names), medcat=True)
    assert codes(linker, "[MS](problem) is treated with [MS](drug), [MS](test)") == [(), ("7052",), ()]


def test_only_our_spans_are_linked(names):
    linker, _ = load_linker(str(names), medcat=True)
    assert codes(linker, "multiple sclerosis, not [mitral](problem) stenosis") == [()]
    assert codes(linker, "") == []


def test_the_linker_is_pickled_and_serves_the_normalizer(names):
    linker, _ = load_linker(str(names), medcat=True)
    codes(linker, "[multiple sclerosis](problem)")
    again = pickle.loads(pickle.dumps(Normalizer(None, linker)))
    (fact,) = again.facts(document("No [multiple sclerosis](problem)."))
    assert [coding.code for coding in fact.codings] == ["G35"]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack of MedCAT's own making, its context model trained so that MS depends on the words around it."""
    os.environ["MEDCAT_DISABLE_VERSION_CHECK"] = "true"
    import pandas
    from medcat.cat import CAT
    from medcat.config import Config
    from medcat.model_creation.cdb_maker import CDBMaker
    from medcat.vocab import Vocab

    config = Config()
    config.meta.ontology = ["SNOMED"]
    config.components.linking.disamb_length_limit = 2
    rows = [
        ("24700007", "multiple sclerosis", "P"),
        ("24700007", "MS", "A"),
        ("79619009", "mitral stenosis", "P"),
        ("79619009", "MS", "A"),
    ]
    cdb = CDBMaker(config).prepare_csvs([pandas.DataFrame(rows, columns=["cui", "name", "name_status"])])
    vocab = Vocab()
    neurology = ["optic", "neuritis", "weakness", "lesions", "brain", "relapse"]
    cardiology = ["murmur", "valve", "atrial", "diastolic", "echo", "rheumatic"]
    for index, word in enumerate(neurology + cardiology):
        vector = numpy.full(8, 0.05)
        vector[:4] += float(index < len(neurology))
        vector[4:] += float(index >= len(neurology))
        vector[index % 8] += 0.1
        vocab.add_word(word, cnt=10, vec=vector)
    vocab.init_cumsums()
    cat = CAT(cdb, vocab, config)
    cat.trainer.train_unsupervised(
        ["optic neuritis weakness multiple sclerosis brain lesions relapse"] * 20
        + ["diastolic murmur rheumatic mitral stenosis valve atrial echo"] * 20
    )
    folder = tmp_path_factory.mktemp("packs")
    return folder / cat.save_model_pack(str(folder), pack_name="own", make_archive=False)


def test_a_pack_is_loaded_only_when_it_is_trusted(pack):
    with pytest.raises(UsageError, match="--trust-pack"):
        load_linker(str(pack), medcat=True)


def test_a_trained_pack_tells_meanings_apart_by_context(pack):
    linker, _ = load_linker(str(pack), medcat=True, trust_pack=True)
    text = "optic neuritis weakness with [MS](problem) brain lesions relapse"
    assert codes(linker, text) == [("24700007",)]
    assert codes(linker, "diastolic murmur rheumatic [MS](problem) valve atrial echo") == [("79619009",)]
    ((found,),) = linker.codings(document(text))
    assert found.system == "http://snomed.info/sct"
    assert found.method == "medcat"
    assert 0.25 <= found.score <= 1


def test_what_is_no_pack_gets_one_sentence(tmp_path):
    (tmp_path / "model_card.json").write_text("{}")
    linker, _ = load_linker(str(tmp_path), medcat=True, trust_pack=True)
    with pytest.raises(InputError, match="can't be loaded"):
        codes(linker, "[MS](problem)")


def test_medcat_needs_names():
    with pytest.raises(UsageError, match="a CSV or a MedCAT model pack"):
        load_linker(medcat=True)


def test_a_bad_csv_is_refused_before_the_first_note(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("name,code,system,type\ngout,M10.9,ICD10CM,disease\n")
    with pytest.raises(InputError, match="line 2: the column 'type'"):
        load_linker(str(path), medcat=True)
