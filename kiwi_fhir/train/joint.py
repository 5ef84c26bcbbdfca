"""One joint model and how it is fitted: which weights train, the loss, the schedule, the epoch that is kept."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kiwi_fhir.evaluate import score
from kiwi_fhir.evaluate.counts import LEVELS
from kiwi_fhir.extract.base import DEFAULT_BASE, arch_of, load_base, quiet_peft
from kiwi_fhir.extract.device import autocast, best_dtype
from kiwi_fhir.extract.llama_base import SMOLLM2
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.extract.tagger.model import MAX_WORDS, Heads, JointModel, WordSpan, collate, whole
from kiwi_fhir.extract.tagger.windows import Windower, batches
from kiwi_fhir.train.examples import Example, SoftExample, examples
from kiwi_fhir.types import Document, ModelId

#: Stage, step, steps, loss (`dev`: F1; None: the stage has none).
Report = Callable[[str, int, int, float | None], None]
AnyExample = Example | SoftExample

#: A student sees this part of the labelled texts in each of its epochs: they are ten times the annotated notes.
SOFT_PARTS = 4


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training run does; it stands in the model folder, so that the run can be repeated.

    `rank` 0 trains all weights but the words' own vectors. `teachers` is the number of models that label the texts for
    a student (0: none); `student_epochs` are passes over the annotated notes, each with one of SOFT_PARTS of the
    texts. The defaults were chosen on folds of the training notes (model card of the default model).
    """

    arch: str = "bert"
    base: str = DEFAULT_BASE
    rank: int = 0
    epochs: int = 12
    learning_rate: float = 4e-4
    batch: int = 8
    window: int = 160
    patience: int = 3
    seed: int = 13
    adapt_epochs: int = 6
    adapt_learning_rate: float = 4e-4
    teachers: int = 0
    student_epochs: int = 8


def prepare(encoder: Any, rank: int, device: torch.device) -> Any:
    """The encoder with those weights to train, on `device`, that `rank` says; it stays where it is.

    Without an adapter the embeddings stay as they are: most are of words that no training note has. Dropout inside
    the attention goes, as it keeps torch from the fast kernel, and a fifth of the speed with it.
    """
    for module in encoder.modules():
        if hasattr(module, "query") and isinstance(getattr(module, "dropout", None), nn.Dropout):
            module.dropout.p = 0.0
    if rank:
        return attach_lora(encoder, rank, device)
    for name, weight in encoder.named_parameters():
        weight.requires_grad_("embed" not in name and "pooler" not in name)
    return encoder


#: The recipe of a tagger on a LLaMA, as far as a caller says nothing else.
LLAMA_TAGGER = Recipe(arch="llama-tagger", base=SMOLLM2, rank=16, learning_rate=1.5e-3)


def attach_lora(encoder: Any, rank: int, device: torch.device) -> Any:
    """The encoder with low-rank adapters on all its linear layers, the pooler's excepted; only these train.

    The frozen weights of a LLaMA go to bf16 where `device` trains in it: autocast would round them in every step.
    """
    from peft import LoraConfig, get_peft_model

    if arch_of(encoder) == LLAMA_TAGGER.arch:
        encoder.to(best_dtype(device))
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules="all-linear",
        exclude_modules=r".*pooler.*" if getattr(encoder, "pooler", None) else None,
        bias="none",
    )
    with quiet_peft():
        return get_peft_model(encoder, config)


def new_model(recipe: Recipe, weights: dict[str, torch.Tensor], device: torch.device) -> JointModel:
    """A new joint model with `weights` in place of its own, as far as they go."""
    torch.manual_seed(recipe.seed)
    encoder, _ = load_base(recipe.base)
    model = JointModel(prepare(encoder, recipe.rank, device), Heads(encoder.config.hidden_size))
    model.load_state_dict(weights, strict=False)
    model.to(device)
    return model


def fit_model(
    recipe: Recipe,
    start: dict[str, torch.Tensor],
    documents: Sequence[Document],
    dev: Sequence[Document],
    soft: Sequence[SoftExample],
    device: torch.device,
    report: Report | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The trained weights, on the CPU, of a model that starts from `start`, and its metrics."""
    report = report or (lambda *_: None)
    _, tokenizer = load_base(recipe.base)
    model = new_model(recipe, start, device)
    shuffle = random.Random(recipe.seed)
    windower = Windower(tokenizer, recipe.window)
    parts = [list(soft[first::SOFT_PARTS]) for first in range(SOFT_PARTS)]
    per_epoch = len(_plan([*examples(documents, windower), *parts[0]], recipe, random.Random(0)))
    steps = max(1, per_epoch * recipe.epochs)
    learned = trained(model)
    weights = list(learned.values())
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.1 * steps)) * max(0.02, 1 - step / (1.02 * steps))
    )
    best: tuple[float, dict[str, torch.Tensor]] = (-1.0, {})
    history: list[dict[str, float]] = []
    step, started = 0, time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        total = 0.0
        found: list[AnyExample] = [*examples(documents, windower, shuffle), *parts[epoch % SOFT_PARTS]]
        for batch in _plan(found, recipe, shuffle):
            loss = _loss(model, batch, tokenizer.pad_token_id or 0, device)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            total += loss.item()
            report("train", min(step, steps), steps, loss.item())
        row = {"epoch": float(epoch), "loss": total / max(1, per_epoch)}
        history.append(row)
        if not dev:
            continue
        row |= _dev_scores(model, tokenizer, dev, recipe, device)
        report("dev", epoch, recipe.epochs, mean_f1(row))
        if mean_f1(row) > best[0]:
            best = (mean_f1(row), {key: weight.detach().clone() for key, weight in learned.items()})
        elif all(mean_f1(past) < best[0] for past in history[-recipe.patience :]):
            break
    weights_now = {key: weight.detach().cpu() for key, weight in (best[1] or learned).items()}
    return weights_now, {"epochs": history, "seconds": time.monotonic() - started}


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that train, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def mean_f1(row: dict[str, float]) -> float:
    """The mean of the three levels' exact F1."""
    return sum(row[level] for level in LEVELS) / len(LEVELS)


def _plan(found: list[AnyExample], recipe: Recipe, shuffle: random.Random) -> list[list[AnyExample]]:
    """Batches of windows of like lengths, in random order."""
    order = list(found)
    shuffle.shuffle(order)
    plan = [
        [order[index] for index in batch]
        for batch in batches([len(example.window.pieces) for example in order], recipe.batch * recipe.window)
    ]
    shuffle.shuffle(plan)
    return plan


def _loss(model: JointModel, found: list[AnyExample], pad: int, device: torch.device) -> torch.Tensor:
    """Cross-entropy of both taggers (sum over spans, mean over words) and of the linker (mean over pairs)."""
    batch = collate([example.window for example in found], pad).to(device)
    with autocast(device):
        words = model(batch)
    words = words.float()
    loss = words.new_zeros(())
    spans, many = whole(batch.word_mask), batch.word_mask.sum()
    for logits, wanted in zip(
        model.heads.tags(words),
        ([example.mentions for example in found], [example.modifiers for example in found]),
        strict=True,
    ):
        targets = _targets(wanted, logits.shape).to(device)
        loss = loss - (targets[spans] * logits[spans].log_softmax(-1)).sum() / many
    pairs = [[row, *pair] for row, example in enumerate(found) for pair in example.pairs]
    if pairs:
        linked = torch.tensor([float(link) for example in found for link in example.linked], device=device)
        logits = model.heads.links(words, torch.tensor(pairs, device=device))
        loss = loss + nn.functional.binary_cross_entropy_with_logits(logits, linked)
    return loss


def _targets(wanted: Sequence[list[WordSpan] | torch.Tensor], shape: torch.Size) -> torch.Tensor:
    """Spans, or probabilities of spans, of each window as probabilities of `shape` [B, W, MAX_WORDS, 1 + K]."""
    targets = torch.zeros(shape)
    targets[..., 0] = 1.0
    for row, spans in enumerate(wanted):
        if isinstance(spans, torch.Tensor):
            targets[row, : len(spans)] = spans.float()
            continue
        for label, first, last in spans:
            if last - first <= MAX_WORDS:
                targets[row, first, last - first - 1] = 0.0
                targets[row, first, last - first - 1, 1 + label] = 1.0
    return targets


def extractor_of(model: JointModel, tokenizer: Any, recipe: Recipe, device: torch.device) -> TaggerExtractor:
    """An extractor of a model in training, in fp32."""
    return TaggerExtractor(
        model.eval(), tokenizer, model_id=ModelId("training", "0"), window=recipe.window, device=device
    )


def _dev_scores(
    model: JointModel, tokenizer: Any, dev: Sequence[Document], recipe: Recipe, device: torch.device
) -> dict[str, float]:
    """Exact micro F1 on `dev`."""
    guesses = extractor_of(model, tokenizer, recipe, device).predict([document.note for document in dev])
    report = score(dev, guesses, samples=0)
    return {level: report.f1(level, "exact") for level in LEVELS}
