"""OpenVINO as the encoder's engine: the documents of torch, its threads, and what is said where it is missing."""

import builtins
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import torch

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract import DEFAULT_MODEL, ModelChoice, load
from kiwi_fhir.extract.device import best_dtype
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.extract.tagger.openvino import _group
from kiwi_fhir.types import Note

FOLDER = ModelChoice(DEFAULT_MODEL).folder
openvino_needed = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")


@pytest.fixture(scope="module")
def notes(synthetic_note):
    return [Note("empty", ""), Note("short", "No fever."), *(Note(str(n), synthetic_note(n, 2000)) for n in range(5))]


@pytest.fixture(scope="module")
def pair():
    """Torch's extractor and OpenVINO's, both in fp32."""
    return tuple(TaggerExtractor.load(FOLDER, device=name, dtype=torch.float32) for name in ("cpu", "openvino"))


def labels(document):
    """What was found without scores: (label, span, the mention that it qualifies)."""
    found = {(mention.label, mention.span, None) for mention in document.mentions}
    found |= {(held.label, held.span, mention.span) for mention in document.mentions for held in mention.modifiers}
    return found | {(held.label, held.span, None) for held in document.unlinked}


def scores(document):
    return [
        *(mention.score for mention in document.mentions),
        *(number for mention in document.mentions for held in mention.modifiers for number in (held.score, held.link)),
        *(held.score for held in document.unlinked),
    ]


@openvino_needed
def test_the_documents_of_torch_in_fp32(pair, notes):
    expected, found = (extractor.predict(notes) for extractor in pair)
    assert [labels(document) for document in found] == [labels(document) for document in expected]
    assert sum(len(document.mentions) for document in found) > 50
    for one, other in zip(found, expected, strict=True):
        assert scores(one) == pytest.approx(scores(other), abs=1e-3)
    assert {document.model for document in found} == {document.model for document in expected}


@openvino_needed
def test_nearly_the_labels_of_torch_in_bf16(pair, notes):
    rounded = TaggerExtractor.load(FOLDER, device="openvino", dtype=torch.bfloat16)
    same = total = 0
    for one, other in zip(rounded.predict(notes), pair[0].predict(notes), strict=True):
        same += len(labels(one) & labels(other))
        total += len(labels(one) | labels(other))
    assert same / total >= 0.99


@openvino_needed
def test_int8_products_by_default(pair, notes):
    """Most labels are torch's, and a note's are the same alone and among others.

    The weights' type is what OpenVINO keeps on processors that multiply int8 (x86 with AVX2 or more).
    """
    extractor = TaggerExtractor.load(FOLDER, device="openvino")
    nodes = extractor._joint.encoder._compiled.get_runtime_model().get_ops()
    layers = [node for node in nodes if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"]
    assert [node.input(1).get_element_type().get_type_name() for node in layers] == ["i8"] * 36  # six in each layer
    together = extractor.predict(notes)
    alone = [extractor.predict([note])[0] for note in notes]
    assert [labels(document) for document in alone] == [labels(document) for document in together]
    for one, other in zip(alone, together, strict=True):
        assert scores(one) == pytest.approx(scores(other), abs=1e-3)
    same = total = 0
    for one, other in zip(together, pair[0].predict(notes), strict=True):
        same += len(labels(one) & labels(other))
        total += len(labels(one) | labels(other))
    assert same / total >= 0.95


@pytest.mark.parametrize(("widths", "size"), [({384, 1536}, 384), ({576, 1536}, 192), ({768, 3072}, 384), (set(), 0)])
def test_a_group_divides_every_layer_s_input(widths, size):
    """OpenVINO multiplies in bf16 where it does not."""
    assert _group(widths) == size


@openvino_needed
def test_threads_may_share_it(pair, notes):
    extractor = pair[1]
    expected = extractor.predict(notes)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(extractor.predict, [notes] * 2)) == [expected] * 2


@openvino_needed
def test_threads_precision_and_the_default_dtype():
    before = torch.get_num_threads()
    try:
        compiled = load(threads=1, device="openvino")._joint.encoder._compiled
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
        assert compiled.get_property("ENABLE_CPU_PINNING") is False
        fast = best_dtype(torch.device("cpu")) is torch.bfloat16
        assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == ("bf16" if fast else "f32")
    finally:
        torch.set_num_threads(before)


@openvino_needed
def test_nothing_is_reported_to_anyone(tmp_path):
    """OpenVINO's telemetry leaves a folder in the home as soon as openvino is imported."""
    code = "from kiwi_fhir.extract import load; load(device='openvino', threads=1)"
    environment = os.environ | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
    assert not list(tmp_path.glob("*ntel*"))


def test_a_missing_package_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.split(".")[0] == "openvino":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModelError, match=r"pip install 'kiwi_fhir\[openvino\]'"):
        load(device="openvino")
