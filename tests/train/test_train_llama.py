"""Instruction tuning for real, of a LLaMA that is small enough for seconds."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from test_train import document
from tiny_llamas import byte_level_tokenizer, save_llama, tiny_llama
from typer.testing import CliRunner

from kiwi_fhir.cli.commands import app
from kiwi_fhir.documents.brat import format_ann
from kiwi_fhir.errors import ModelError, UsageError
from kiwi_fhir.extract import ModelChoice, load
from kiwi_fhir.extract.generative.marking import Task
from kiwi_fhir.extract.generative.markup import read
from kiwi_fhir.extract.generative.prompts import TEMPLATES, load_templates
from kiwi_fhir.train.instructions import encode, instructions
from kiwi_fhir.train.llama import LlamaRecipe, train
from kiwi_fhir.train.packing import pack
from kiwi_fhir.types import Document, Mention, Modifier, Note, Span

DOCUMENTS = [document(f"n{index:02d}", index) for index in range(6)]
PROMPTS = load_templates()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("bases") / "tiny", byte_level_tokenizer())


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for made in DOCUMENTS:
        (folder / f"{made.note.id}.txt").write_text(made.note.text, encoding="utf-8")
        (folder / f"{made.note.id}.ann").write_text(format_ann(made), encoding="utf-8")
    return folder


def fit(base, folder, documents=DOCUMENTS, stop=None, **recipe):
    seen = []

    def report(stage, step, steps, value):
        seen.append((stage, step, value))
        if stop == (stage, step):
            raise KeyboardInterrupt

    settings = {"epochs": 3, "learning_rate": 3e-3, "batch": 8, "dropout": 0.0} | recipe
    model, metrics = train(
        documents,
        documents[:1],
        LlamaRecipe(base=str(base), **settings),
        PROMPTS,
        device=torch.device("cpu"),
        checkpoint=folder,
        report=report,
    )
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    return weights, metrics, seen


def test_an_example_is_what_the_extractor_asks():
    pairs = dict(instructions(DOCUMENTS[:1], PROMPTS))
    text = DOCUMENTS[0].note.text
    whole = PROMPTS.ask_mentions(text.strip())
    assert pairs[whole].count("</span>") == 4
    first = text.split("\n")[0].split(". ")[1]
    start = first.index("severe")
    asked = PROMPTS.ask_modifiers("problem", first, start, len(first) - 1)
    assert pairs[asked] == first.replace("severe", '<span class="severity">severe</span>')
    assert len(pairs) == 5


def test_answers_say_what_is_annotated():
    """Every answer read back gives the gold spans: of overlapping ones the first, none that leaves its passage."""
    text = "No acute pain in left leg. He was well."
    held = (Modifier("negation", Span(0, 2)), Modifier("course", Span(3, 8)), Modifier("bodyloc", Span(17, 25)))
    odd = Document(Note("n", text), (Mention("problem", Span(3, 25), held), Mention("test", Span(17, 25))))
    for prompt, answer in instructions([odd], PROMPTS, random.Random(1)):
        source = answer
        for label in ("problem", "test", "negation", "course", "bodyloc"):
            source = source.replace(f'<span class="{label}">', "")
        source = source.replace("</span>", "")
        labels = ("problem", "test", "negation", "course", "bodyloc")
        found = {
            (mark.label, source[mark.start : mark.end])
            for mark in read(answer, Task(prompt, source, labels), PROMPTS.tags)
        }
        if "One problem" in prompt:
            assert found == {("negation", "No"), ("course", "acute"), ("bodyloc", "left leg")}
        elif "One test" in prompt:
            assert found == set()
        elif "acute" in source:
            assert found == {("problem", "acute pain in left leg")}, "the second overlaps it"


def test_a_packed_row_costs_what_its_examples_cost():
    tokenizer = byte_level_tokenizer()
    model = tiny_llama(tokenizer).double()
    examples = encode(instructions(DOCUMENTS[:2], PROMPTS), tokenizer, PROMPTS)
    alone, count = 0.0, 0
    for example in examples:
        logits = model(input_ids=torch.tensor([example.tokens])).logits[0, :-1]
        target = torch.tensor(example.tokens[1:])
        target[: example.answer - 1] = -100
        alone += torch.nn.functional.cross_entropy(logits, target, reduction="sum").item()
        count += int((target >= 0).sum())
    packed, targets, fed = 0.0, 0, 0
    for row in pack(examples, 600):
        logits = model(input_ids=row.tokens, attention_mask=row.mask, position_ids=row.positions).logits
        packed += torch.nn.functional.cross_entropy(logits[0], row.targets[0], reduction="sum").item()
        targets += int((row.targets >= 0).sum())
        fed += row.tokens.numel()
        assert row.tokens.shape[1] <= max(600, max(len(example.tokens) for example in examples))
    assert targets == count
    assert packed == pytest.approx(alone, rel=1e-9)
    assert fed < 0.75 * sum(len(example.tokens) for example in examples)


def test_tuning_lowers_the_loss(base, tmp_path):
    weights, metrics, seen = fit(base, tmp_path)
    losses = [value for stage, _, value in seen if stage == "train"]
    assert losses[-1] < 0.9 * losses[0]
    assert metrics["epochs"][-1]["dev_loss"] < metrics["epochs"][0]["dev_loss"]
    assert metrics["peak_host_mib"] > 100
    assert metrics["seconds"] > 0
    assert all(weight.isfinite().all() for weight in weights.values())


def test_a_run_that_stopped_goes_on_to_the_same_weights(base, tmp_path, monkeypatch):
    monkeypatch.setattr("kiwi_fhir.train.llama._SAVE_SECONDS", 0.0)
    whole, _, seen = fit(base, tmp_path / "one", dropout=0.1)
    with pytest.raises(KeyboardInterrupt):
        fit(base, tmp_path / "two", dropout=0.1, stop=("train", 6))
    resumed, metrics, later = fit(base, tmp_path / "two", dropout=0.1)
    assert later[0][1] == 6, "the step that was reported when it stopped had not been saved"
    assert later == seen[-len(later) :]
    assert len(metrics["epochs"]) == 3
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_another_run_is_refused(base, tmp_path):
    fit(base, tmp_path, epochs=1)
    with pytest.raises(UsageError, match="other settings or notes"):
        fit(base, tmp_path, epochs=2)
    with pytest.raises(UsageError, match="other settings or notes"):
        fit(base, tmp_path, documents=DOCUMENTS[:3], epochs=1)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"broken")
    with pytest.raises(UsageError, match="damaged"):
        fit(base, tmp_path, epochs=1)


def test_out_of_memory_halves_the_rows(base, tmp_path, monkeypatch):
    from kiwi_fhir.train import llama

    def short(examples, room):
        if room > 200:
            raise torch.OutOfMemoryError("out of memory")
        return pack(examples, room)

    monkeypatch.setattr(llama, "pack", short)
    _, metrics, seen = fit(base, tmp_path, epochs=1)
    assert metrics["row_tokens"] == 128
    assert len(seen) > 3
    monkeypatch.setattr(llama, "pack", lambda *_: short(None, 999))
    with pytest.raises(ModelError, match="does not fit into memory"):
        fit(base, tmp_path / "other", epochs=1)


def test_a_large_base_computes_activations_again(base, tmp_path, monkeypatch):
    """Gradient checkpointing saves memory and changes no step: each layer runs forward once more."""
    from transformers.models.llama.modeling_llama import LlamaMLP

    calls, forward = [], LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, hidden: calls.append(1) or forward(self, hidden))
    kept = fit(base, tmp_path / "kept", epochs=1)[2]
    once = len(calls)
    monkeypatch.setattr("kiwi_fhir.train.llama.CHECKPOINTING_FROM", 0)
    again = fit(base, tmp_path / "again", epochs=1)[2]
    assert len(calls) - once > 1.5 * once
    assert [value for _, _, value in again] == pytest.approx([value for _, _, value in kept], rel=1e-4)


def test_a_tokenizer_that_joins_prompt_and_answer_is_refused():
    tokenizer = byte_level_tokenizer()
    with pytest.raises(ModelError, match="end templates with a line end"):
        encode([("Text: pa", "in")], tokenizer, PROMPTS)


def test_the_command_writes_a_model_that_extracts(base, corpus, tmp_path):
    output = tmp_path / "model"
    call = ["train", str(corpus), "-o", str(output), "--arch", "llama", "--base", str(base), "--epochs", "1"]
    result = CliRunner().invoke(app, [*call, "--name", "small", "--rank", "4", "--device", "cpu", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in output.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "config.json", "metrics.json", "templates"
    }  # fmt: skip
    config = json.loads((output / "config.json").read_text())
    assert (config["arch"], config["base"], config["window"]) == ("llama", str(base), PROMPTS.window)
    assert {path.read_bytes() for path in (output / "templates").iterdir()} == {
        path.read_bytes() for path in TEMPLATES.iterdir()
    }
    assert {weight.dtype for weight in load_file(output / "adapter_model.safetensors").values()} == {torch.float16}
    name, released = ModelChoice(str(output)).identify()
    assert str(name).startswith("small-0.1.0-")
    assert released.endswith("T00:00:00Z")

    brat = tmp_path / "brat"
    result = CliRunner().invoke(
        app, ["extract", str(corpus), "-o", str(brat), "--model", str(output), "--threads", "1"]
    )
    assert result.exit_code == 0, result.output
    assert not (brat / "failures.ndjson").exists()
    for made in DOCUMENTS:
        assert (brat / f"{made.note.id}.txt").read_text() == made.note.text
    lines = [line for path in brat.glob("*.ann") for line in path.read_text().splitlines() if line.startswith("T")]
    assert lines
    assert load(str(output), threads=1).model == name


def test_a_damaged_adapter_is_refused(base, corpus, tmp_path):
    output = tmp_path / "model"
    call = ["train", str(corpus), "-o", str(output), "--arch", "llama", "--base", str(base), "--epochs", "1"]
    assert CliRunner().invoke(app, [*call, "--rank", "2", "--device", "cpu"]).exit_code == 0
    (output / "adapter_model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="damaged"):
        load(str(output), threads=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arch", "llama", "--teachers", "2"], "--teachers is not for --arch llama"),
        (["--arch", "llama", "--texts", "x.jsonl"], "--texts is not for --arch llama"),
        (["--four-bit"], "--four-bit is not for --arch bert"),
        (["--adapt-epochs", "2"], "--adapt-epochs needs --texts"),
        (["--student-epochs", "2"], "--student-epochs needs --teachers"),
        (["--teachers", "2"], "--teachers needs --texts"),
        (["--teacher-model", "default"], "--teacher-model needs --teachers"),
        (["--texts", "x", "--teachers", "2", "--teacher-model", "smollm2"], "takes a tagger; 'smollm2' writes"),
    ],
)
def test_options_of_the_other_kind_are_refused(corpus, tmp_path, options, message):
    result = CliRunner().invoke(app, ["train", str(corpus), "-o", str(tmp_path / "m"), *options])
    assert result.exit_code != 0
    assert message in str(result.exception)
