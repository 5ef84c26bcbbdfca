"""Windows a second of a LLaMA on this machine: copied with drafts, token by token, and by transformers' `generate`.

    python tests/benchmarks/llama_speed.py [--model smollm2] [--notes 4] [--batch 1 8] [--threads 2] [--json FILE]

The same weights, questions and batches in one run. `plain` is constrained greedy decoding without drafts, `generate` is
transformers' own greedy decoding without a constraint (its answers are read beside the text, and may be refused).
Ratios of one run count: the machine is noisy.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from synthetic import note_text

from kiwi_fhir.extract import ModelChoice
from kiwi_fhir.extract.generative.local import LocalBackend
from kiwi_fhir.extract.generative.marking import AnswerRefused, Task
from kiwi_fhir.types import Note


class _Asked:
    """Keeps the questions that an extractor asks, and has a back end answer them."""

    def __init__(self, backend):
        self.backend, self.rounds = backend, []

    def mark(self, tasks):
        self.rounds.append(list(tasks))
        return self.backend.mark(tasks)


def questions(extractor, notes):
    """The questions about mentions, and those about the modifiers of what was found."""
    asked = extractor.backend = _Asked(extractor.backend)
    extractor.predict([Note(str(index), text) for index, text in enumerate(notes)])
    extractor.backend = asked.backend
    return {"mentions": asked.rounds[0], "modifiers": asked.rounds[1]}


def timed(backend, tasks, batch):
    """Seconds, answers and what was done, in batches of `batch` questions of like lengths."""
    order = sorted(range(len(tasks)), key=lambda index: (-len(tasks[index].source), tasks[index].source, index))
    answers = {}
    started = time.perf_counter()
    for first in range(0, len(order), batch):
        some = order[first : first + batch]
        answers |= dict(zip(some, backend.mark([tasks[index] for index in some]), strict=True))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, [answers[index] for index in range(len(tasks))]


def spans(answer):
    return None if isinstance(answer, AnswerRefused) else [(mark.label, mark.start, mark.end) for mark in answer]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--notes", type=int, default=3)
    parser.add_argument("--characters", type=int, default=2000)
    parser.add_argument("--most", type=int, default=24, help="questions of each kind that are timed")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    extractor = ModelChoice(options.model).load(threads=options.threads, device=options.device)
    model, tokenizer = extractor.backend._model, extractor.backend._tokenizer
    templates = extractor._templates
    notes = [note_text(seed, options.characters) for seed in range(options.notes)]
    rows = []
    for kind, tasks in questions(extractor, notes).items():
        step = max(1, len(tasks) // options.most)
        tasks: list[Task] = tasks[::step][: options.most]
        for batch in options.batch:
            reference = None
            for way, settings in (("draft", {}), ("plain", {"draft": False}), ("generate", {"constrained": False})):
                backend = LocalBackend(model, tokenizer, templates, batch_tokens=10**9, **settings)
                backend.mark(tasks[:1])
                counters = backend.counters
                before = (counters.row_passes, counters.written, counters.fed)
                seconds, answers = timed(backend, tasks, batch)
                after = (counters.row_passes, counters.written, counters.fed)
                passes, written, fed = (now - then for now, then in zip(after, before, strict=True))
                found = [spans(answer) for answer in answers]
                reference = reference or found
                rows.append(
                    {
                        "questions": kind,
                        "batch": batch,
                        "way": way,
                        "windows": len(tasks),
                        "windows_per_second": len(tasks) / seconds,
                        "passes_per_window": passes / len(tasks),
                        "tokens_written_per_window": written / len(tasks),
                        "tokens_fed_per_window": fed / len(tasks),
                        "refused": sum(answer is None for answer in found),
                        "same_spans_as_draft": sum(one == two for one, two in zip(found, reference, strict=True)),
                    }
                )
                first = next(row for row in rows if (row["questions"], row["batch"]) == (kind, batch))
                rows[-1]["draft_is_times_faster"] = first["windows_per_second"] / rows[-1]["windows_per_second"]
                print(" ".join(f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
                               for key, value in rows[-1].items()), flush=True)  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
