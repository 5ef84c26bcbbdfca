"""Constrained decoding with drafts, against transformers' own greedy decoding under the same constraint."""

import pytest
import torch
from synthetic import note_text
from tiny_llamas import byte_level_tokenizer, sentencepiece_tokenizer, tiny_llama

from kiwi_fhir.extract.generative.copying import Copy, Tagset
from kiwi_fhir.extract.generative.local import LocalBackend
from kiwi_fhir.extract.generative.marking import AnswerRefused, Task
from kiwi_fhir.extract.generative.passages import sentences, windows
from kiwi_fhir.extract.generative.prompts import load_templates
from kiwi_fhir.extract.generative.vocabulary import Vocabulary
from kiwi_fhir.extract.segment import segment

TEMPLATES = load_templates()
KINDS = {"byte-level": byte_level_tokenizer, "sentencepiece": sentencepiece_tokenizer}


@pytest.fixture(scope="module", params=KINDS)
def llama(request):
    tokenizer = KINDS[request.param]()
    return tiny_llama(tokenizer), tokenizer


def tasks_of(text, limit=120):
    """Questions about mentions for all windows, and about the modifiers of two words of each sentence."""
    parts = sentences(segment(text), limit)
    made = [
        Task(TEMPLATES.ask_mentions(part.of(text)), part.of(text), TEMPLATES.mentions.classes)
        for part in windows(parts, limit)
    ]
    for part in parts:
        source = part.of(text)
        for word in source.split()[1:3]:
            start = source.index(word)
            prompt = TEMPLATES.ask_modifiers("problem", source, start, start + len(word))
            made.append(Task(prompt, source, TEMPLATES.modifiers["problem"].classes))
    return made


def spans(answers):
    return [[(mark.label, mark.start, mark.end) for mark in answer] for answer in answers]


def by_transformers(model, tokenizer, task):
    """One token at a time, without a draft, a batch or a shared beginning."""
    vocabulary = Vocabulary(tokenizer)
    copy = Copy(task.source, Tagset.of(TEMPLATES.tags, task.labels), vocabulary)
    prompt = tokenizer(task.prompt)["input_ids"]

    def follow(tokens):
        places = copy.start
        for token in tokens:
            places = copy.follow(places, token)
        return places

    def allowed(_, tokens):
        places = follow(tokens[len(prompt) :].tolist())
        return [tokenizer.eos_token_id] if copy.is_done(places) else list(copy.legal(places))

    written = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=2000,
        do_sample=False,
        prefix_allowed_tokens_fn=allowed,
        pad_token_id=tokenizer.eos_token_id,
    )[0, len(prompt) :].tolist()
    assert written[-1] == tokenizer.eos_token_id
    return copy.spans(follow(written[: written.index(tokenizer.eos_token_id)]))


def test_drafts_change_no_answer(llama):
    model, tokenizer = llama
    tasks = [task for seed in range(6) for task in tasks_of(note_text(seed, 900))][:200]
    fast, plain = LocalBackend(model, tokenizer, TEMPLATES), LocalBackend(model, tokenizer, TEMPLATES, draft=False)
    answers = fast.mark(tasks)
    assert spans(answers) == spans(plain.mark(tasks))
    assert sum(map(len, answers)) > 100, "the model marks something"
    assert all(0 < mark.score <= 1 for answer in answers for mark in answer)
    assert fast.counters.tasks == len(tasks)
    assert fast.counters.written == plain.counters.written
    assert fast.counters.row_passes < plain.counters.row_passes / 1.5


def test_answers_are_those_of_transformers(llama):
    model, tokenizer = llama
    tasks = tasks_of(note_text(11, 500))[::3][:10] + [
        Task(TEMPLATES.ask_mentions(source), source, TEMPLATES.mentions.classes)
        for source in ("K < 3.5 & Na > 140", 'he wrote <span class="test">x</span>', "cafe\u0301 👩‍⚕️ naïve", "x")
    ]
    answers = LocalBackend(model, tokenizer, TEMPLATES).mark(tasks)
    assert spans(answers) == [by_transformers(model, tokenizer, task) for task in tasks]


def test_answers_do_not_depend_on_the_batch(llama):
    model, tokenizer = llama
    tasks = tasks_of(note_text(3, 700))
    together = LocalBackend(model, tokenizer, TEMPLATES).mark(tasks)
    alone = LocalBackend(model, tokenizer, TEMPLATES, batch_tokens=1).mark(tasks)
    backwards = LocalBackend(model, tokenizer, TEMPLATES, batch_tokens=900).mark(tasks[::-1])[::-1]
    assert spans(together) == spans(alone) == spans(backwards)


def test_a_shared_beginning_is_computed_once(llama):
    model, tokenizer = llama
    source = "He denies chest pain, cough, fever, nausea and leg swelling but says that he has a headache."
    tasks = []
    for word in ("pain", "cough", "fever", "nausea", "headache"):
        start = source.index(word)
        prompt = TEMPLATES.ask_modifiers("problem", source, start, start + len(word))
        tasks.append(Task(prompt, source, TEMPLATES.modifiers["problem"].classes))
    prompts = [tokenizer(task.prompt)["input_ids"] for task in tasks]
    backend = LocalBackend(model, tokenizer, TEMPLATES, draft=False)
    backend.mark(tasks)
    first = backend.counters.fed - backend.counters.written
    backend.mark(tasks)  # now the template's beginning is there already
    again = backend.counters.fed - backend.counters.written - first
    head = len(TEMPLATES.beginnings(tokenizer)[1])
    assert len(prompts) == 5
    assert first < sum(map(len, prompts)) - 4 * head - 10, "each template once, and the sentence up to the marks"
    assert first - head <= again + 2 <= first - head + 4


def test_out_of_memory_halves_the_batch(llama, monkeypatch):
    model, tokenizer = llama
    backend = LocalBackend(model, tokenizer, TEMPLATES)
    tasks = tasks_of(note_text(5, 500))
    whole = backend.mark(tasks)
    copy, sizes = backend._decoder.copy, []

    def small(some, prompts):
        sizes.append(len(some))
        if len(some) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return copy(some, prompts)

    monkeypatch.setattr(backend._decoder, "copy", small)
    assert spans(backend.mark(tasks)) == spans(whole)
    assert max(sizes) > 2
    assert sizes.count(1) + sizes.count(2) > 2


def test_without_the_constraint_nonsense_is_refused(llama):
    """A model with random weights never copies a text: nothing may come of it."""
    model, tokenizer = llama
    backend = LocalBackend(model, tokenizer, TEMPLATES, constrained=False)
    tasks = tasks_of(note_text(7, 200))[:4]
    answers = backend.mark(tasks)
    assert all(isinstance(answer, AnswerRefused) for answer in answers)
    assert all(task.source[:12] not in answer.message for task, answer in zip(tasks, answers, strict=True))
    assert backend.counters.passes > 0


def test_without_the_constraint_a_copy_is_read(llama, monkeypatch):
    """What `generate` wrote is read beside the source, up to the end token."""
    model, tokenizer = llama
    backend = LocalBackend(model, tokenizer, TEMPLATES, constrained=False)
    source = "pain, no pain, <pain>"
    task = Task(TEMPLATES.ask_mentions(source), source, TEMPLATES.mentions.classes)
    said = 'pain, no <span class="problem">pain</span>, <pain>'

    def generate(input_ids, **_):
        answer = [*backend._vocabulary.split(said), tokenizer.eos_token_id, 5, 5]
        return torch.cat([input_ids, torch.tensor([answer])], dim=1)

    monkeypatch.setattr(model, "generate", generate)
    assert spans(backend.mark([task])) == [[("problem", 9, 13)]]


def test_characters_that_no_token_writes_keep_their_places():
    """As SmolLM2 lacks some control characters, and bytes of planes that are not in use."""
    tokenizer = byte_level_tokenizer(lacking=bytes([0x1D, 0x04, 0xF2]))
    model, source = tiny_llama(tokenizer), "pain\x1d no \x04 cough \U000abcde \U000abcde, fever and pain"
    task = Task(TEMPLATES.ask_mentions(source), source, TEMPLATES.mentions.classes)
    for draft in (True, False):
        (answer,) = LocalBackend(model, tokenizer, TEMPLATES, draft=draft).mark([task])
        assert answer
        words = [source[mark.start : mark.end] for mark in answer]
        assert all(held == held.strip() != "" and held.isprintable() for held in words if held.isascii())
