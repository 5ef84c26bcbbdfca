"""Models side by side on the same notes: quality, speed, memory, cost; the Kiwi study's comparison as a command.

    python tests/benchmarks/compare.py CORPUS --only dev.txt --model default --model smollm2-tagger -o out/compare

Each model runs in a process of its own. CORPUS is a brat folder; `--only` names the notes to report on, which should be
notes that no model was trained or chosen on. Writes compare.md, compare.png and the models' brat folders.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kiwi_fhir.documents.brat import format_ann, read_folder
from kiwi_fhir.evaluate import score
from kiwi_fhir.extract import ModelChoice, chunks, extract
from kiwi_fhir.run.memory import peak_memory
from kiwi_fhir.types import Document

LEVELS = ("mentions", "modifiers", "links")


def work(options):
    """One model in this process: its brat folder, and what it cost, as JSON on standard output."""
    import torch

    choice = ModelChoice(options.model[0], templates=options.templates)
    notes = [document.note for document in read_folder(options.corpus, only=options.names)]
    started = time.monotonic()
    extractor = choice.load(threads=options.threads, device=options.device)
    loading = time.monotonic() - started
    extract(extractor, notes[:1])
    before = tokens_of(extractor, [])
    started, cpu = time.monotonic(), time.process_time()
    results = [found for chunk in chunks(notes) for found in extract(extractor, chunk)]
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    documents = [found for found in results if isinstance(found, Document)]
    options.output.mkdir(parents=True, exist_ok=True)
    for document in documents:
        (options.output / f"{document.note.id}.txt").write_bytes(document.note.text.encode())
        (options.output / f"{document.note.id}.ann").write_text(format_ann(document), encoding="utf-8")
    device = getattr(extractor, "_device", None) or getattr(extractor.backend, "_device", torch.device("cpu"))
    print(
        json.dumps(
            {
                "model": str(extractor.model),
                "notes": len(notes),
                "characters": sum(len(note.text) for note in notes),
                "failed": len(results) - len(documents),
                "parts_failed": sum(len(document.failures) for document in documents),
                "load_seconds": loading,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "tokens": tokens_of(extractor, notes) - before,
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
                "train_seconds": training_of(choice),
                **peak_memory(),
            }
        )
    )


def tokens_of(extractor, notes):
    """Tokens that went through the model: a LLaMA's counter, or a BERT's word pieces."""
    if hasattr(extractor, "backend"):
        counters = getattr(extractor.backend, "counters", None)
        return counters.fed if counters else extractor.backend.counts.completion_tokens
    from kiwi_fhir.extract.segment import segment

    windows = (extractor._windower.windows(note.text, segment(note.text)) for note in notes)
    return sum(len(window.pieces) for found in windows for window in found)


def training_of(choice):
    """Seconds that its training took, where the model folder says so."""
    path = choice.folder / "metrics.json"
    if choice.is_server or not path.is_file():
        return None
    metrics = json.loads(path.read_text())
    stages = [metrics, metrics.get("adaptation") or {}, metrics.get("teachers") or {}]
    return sum(stage.get("seconds", 0) for stage in stages) or None


def run(options, model):
    """`work` in a fresh process, so that its peak memory is its own."""
    folder = options.output / model.rstrip("/").rpartition("/")[2].replace("?", "-")
    command = [sys.executable, __file__, str(options.corpus), "--worker", "--model", model, "-o", str(folder)]
    for name in ("only", "threads", "device", "templates"):
        if getattr(options, name) is not None:
            command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{model} failed, see above")
    return json.loads(done.stdout.splitlines()[-1]), folder


def cell(report, level, match):
    value = report.row(level, match).f1
    low, high = value.interval or (0, 0)
    return f"{value.value or 0:.3f} ({low:.3f}-{high:.3f})"


def table(rows, price):
    """A Markdown table, one column a model."""
    facts = [
        ("model", [stats["model"] for stats, _ in rows]),
        ("device", [stats["device"] for stats, _ in rows]),
    ]
    for level in LEVELS:
        for match in ("exact", "relaxed"):
            facts.append((f"{level}, {match} F1", [cell(report, level, match) for _, report in rows]))
    per_note = [stats["seconds"] / stats["notes"] for stats, _ in rows]
    facts += [
        ("notes/s", [f"{1 / seconds:.3g}" for seconds in per_note]),
        ("times the fastest's seconds", [f"{seconds / min(per_note):.1f}" for seconds in per_note]),
        ("CPU-seconds a note", [f"{stats['cpu_seconds'] / stats['notes']:.2f}" for stats, _ in rows]),
        ("tokens/s through the model", [f"{stats['tokens'] / stats['seconds']:,.0f}" for stats, _ in rows]),
        ("seconds to load", [f"{stats['load_seconds']:.1f}" for stats, _ in rows]),
        ("peak memory, host, MiB", [f"{stats['peak_host_mib']:,.0f}" for stats, _ in rows]),
        ("peak memory, device, MiB", [f"{stats.get('peak_device_mib', 0):,.0f}" for stats, _ in rows]),
        ("minutes of training", [minutes(stats["train_seconds"]) for stats, _ in rows]),
        (
            f"cost of 1,000 notes at {price:g} an hour",
            [f"{1000 * seconds / 3600 * price:.3f}" for seconds in per_note],
        ),
        ("notes failed, parts of notes failed", [f"{stats['failed']}, {stats['parts_failed']}" for stats, _ in rows]),
    ]
    lines = [f"| {' | '.join([name, *values])} |" for name, values in facts]
    lines.insert(1, "|---" * (len(rows) + 1) + "|")
    return "\n".join(lines) + "\n"


def minutes(seconds):
    return "not said" if seconds is None else f"{seconds / 60:.0f}"


def plot(rows, path):
    """Quality against speed: exact F1 by level with intervals, over notes a second."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for level, marker in zip(LEVELS, "osD", strict=True):
        speeds = [stats["notes"] / stats["seconds"] for stats, _ in rows]
        values = [report.row(level, "exact").f1 for _, report in rows]
        middle = [value.value or 0 for value in values]
        ends = [value.interval or (value.value or 0, value.value or 0) for value in values]
        bars = [[at - low for at, (low, _) in zip(middle, ends, strict=True)],
                [high - at for at, (_, high) in zip(middle, ends, strict=True)]]  # fmt: skip
        axes.errorbar(speeds, middle, yerr=bars, fmt=marker, capsize=3, label=level)
    for stats, report in rows:
        at = (stats["notes"] / stats["seconds"], report.f1("mentions", "exact"))
        name = stats["model"].rpartition("-")[0]
        axes.annotate(name, at, xytext=(0, 14), textcoords="offset points", fontsize=8, ha="center")
    axes.set(xscale="log", xlabel="notes/s", ylabel="exact F1 (95 % intervals over notes)", ylim=(0, 1))
    axes.margins(x=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--only", type=Path, help="names of the notes to report on, one a line")
    parser.add_argument("--model", action="append", help="as of kiwi-fhir --model; may be repeated")
    parser.add_argument("--templates", help="prompts of a LLaMA")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device")
    parser.add_argument("--price", type=float, default=1.0, help="of an hour of the machine (default 1)")
    parser.add_argument("-o", "--output", type=Path, default=None)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.names = frozenset(options.only.read_text().split()) if options.only else None
    options.model = options.model or ["default", "smollm2-tagger", "smollm2"]
    if options.worker:
        work(options)
        return
    options.output = options.output or Path(tempfile.mkdtemp(prefix="compare-"))
    gold = list(read_folder(options.corpus, only=options.names))
    rows = []
    for model in options.model:
        stats, folder = run(options, model)
        predicted = list(read_folder(folder)) if any(folder.glob("*.ann")) else []
        rows.append((stats, score(gold, predicted)))
        print(f"{model}: {stats['seconds']:.1f} s", file=sys.stderr, flush=True)
    text = table(rows, options.price)
    (options.output / "compare.md").write_text(text, encoding="utf-8")
    plot(rows, options.output / "compare.png")
    print(text)
    print(f"written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
