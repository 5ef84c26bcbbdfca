"""Masked-language adaptation of a base encoder to clinical text, before it is trained for its task.

Devlin et al. 2019 (arXiv 1810.04805) with whole words: of the words that are predicted 80 % are masked, 10 % replaced
and 10 % kept. They are a fifth of all, more than there: a small corpus gives more of its signal in each pass (Wettig et
al. 2023, arXiv 2202.08005). The prediction head is thrown away afterwards.

A LLaMA has no mask and predicts what comes next: "_" is its mask, and a piece is predicted from the state of the piece
before it (BehnamGhader et al. 2024, arXiv 2404.05961). That teaches it to use the words after, which it never saw.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.extract.device import autocast
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.extract.tagger.windows import Window, Windower, batches

MASKED_SHARE = 0.2
WINDOW_PIECES = 192
BATCH_PIECES = 2048


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a JSON-lines file (`.gz` or not) with a `text` in each line, or of a folder of .txt files.

    Raises InputError naming file and line when a line has no text.
    """
    if path.is_dir():
        for file in sorted(path.glob("*.txt")):
            yield file.read_text(encoding="utf-8")
        return
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path.name}, line {number}: no JSON object with a 'text'.") from error
            yield str(text)


class _Output(nn.Module):
    """A LLaMA's prediction head: the encoder's own input embeddings as its output matrix."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        super().__init__()
        self._embeddings = [embeddings]  # in a list: the encoder owns it

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self._embeddings[0].weight.to(hidden.dtype))


class _Head(nn.Module):
    """BERT's prediction head with the encoder's own input embeddings as its output matrix."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        super().__init__()
        vocabulary, hidden = embeddings.weight.shape
        self.dense = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self._embeddings = [embeddings]  # in a list: the encoder owns it

    def forward(self, hidden: Tensor) -> Tensor:
        state = self.norm(nn.functional.gelu(self.dense(hidden)))
        return nn.functional.linear(state, self._embeddings[0].weight.to(state.dtype), self.bias)


def adapt(
    encoder: Any,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    device: torch.device,
    report: Callable[[int, int, float], None],
) -> dict[str, float]:
    """Train `encoder` (its trainable weights) to fill in masked words of `texts`.

    `report(step, steps, loss)` is called after every step. Returns the mean loss of the first and last 50 steps (nats
    a masked piece), the steps and the seconds.

    Raises UsageError for a LLaMA whose output matrix is another than its input embeddings: the encoder lacks it.
    """
    to_left = tokenizer.mask_token_id is None
    if to_left and not encoder.config.tie_word_embeddings:
        raise UsageError("Only a LLaMA with tied embeddings can be adapted to texts: leave the texts out.")
    windower = Windower(tokenizer, WINDOW_PIECES)
    windows = [window for text in texts for window in windower.windows(text, segment(text))]
    windows = [window for window in windows if len(window.pieces) >= 16]
    head = (_Output if to_left else _Head)(encoder.get_input_embeddings()).to(device)
    trained = [weight for weight in encoder.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW([*trained, *head.parameters()], lr=learning_rate, weight_decay=0.01, fused=True)
    plan = list(batches([len(window.pieces) for window in windows], budget=BATCH_PIECES))
    steps = max(1, epochs * len(plan))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=steps + 1, pct_start=0.06, anneal_strategy="linear"
    )
    shuffle = random.Random(seed)
    encoder.train()
    losses: list[float] = []
    started = time.monotonic()
    for _ in range(epochs):
        shuffle.shuffle(plan)
        for batch in plan:
            pieces, mask, targets = _masked([windows[index] for index in batch], tokenizer, shuffle)
            chosen = targets >= 0
            with autocast(device):
                hidden = encoder(input_ids=pieces.to(device), attention_mask=mask.to(device)).last_hidden_state
                if to_left:
                    hidden = hidden.roll(1, dims=1)
                logits = head(hidden[chosen.to(device)])
            loss = nn.functional.cross_entropy(logits.float(), targets[chosen].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            report(len(losses), steps, losses[-1])
    encoder.eval()
    edge = losses[:50] or [0.0], losses[-50:] or [0.0]
    return {
        "first_loss": sum(edge[0]) / len(edge[0]),
        "last_loss": sum(edge[1]) / len(edge[1]),
        "steps": float(len(losses)),
        "seconds": time.monotonic() - started,
    }


def _masked(windows: list[Window], tokenizer: Any, shuffle: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces [B, T], mask [B, T] and the pieces to predict [B, T] (-1 elsewhere, and always at the first)."""
    longest = max(len(window.pieces) for window in windows)
    pieces = torch.full((len(windows), longest), tokenizer.pad_token_id or 0, dtype=torch.long)
    mask = torch.zeros((len(windows), longest), dtype=torch.long)
    targets = torch.full((len(windows), longest), -1, dtype=torch.long)
    blank, special = tokenizer.mask_token_id, set(tokenizer.all_special_ids)
    if blank is None:
        blank = tokenizer("_", add_special_tokens=False)["input_ids"][-1]
    for row, window in enumerate(windows):
        ids = list(window.pieces)
        ends = [*window.heads[1:], len(ids) - (ids[-1] in special)]
        count = max(1, round(MASKED_SHARE * len(window.heads)))
        for word in shuffle.sample(range(len(window.heads)), count):
            fate = shuffle.random()
            for index in range(window.heads[word], ends[word]):
                if window.pieces[index] == tokenizer.sep_token_id:
                    continue
                targets[row, index] = window.pieces[index]
                if fate < 0.8:
                    ids[index] = blank
                elif fate < 0.9:
                    ids[index] = shuffle.randrange(tokenizer.vocab_size)
        pieces[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    return pieces, mask, targets
