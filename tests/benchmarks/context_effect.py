"""What the rules of mappings/context.toml find and what they get wrong, on annotated notes.

    python tests/benchmarks/context_effect.py GOLD [--only NAMES.txt] [--sample 30] [--seed 0] [--model default]
        [--mappings DIR] [--leave-out NAMES.txt] [--show]

Two tables. The first asks what the rules find alone: all modifiers of the rules' kinds are taken off the gold
mentions, and what the rules put back is compared with what was there (a link is right when gold has a modifier of that
kind on that mention; for a subject, when its words overlap). The second compares the assertion of each gold problem
that the model found (same span, or one that overlaps it) with gold's, for the model's output without and with rules.
`--show` prints what the rules changed, to be judged by eye: annotators miss modifiers too, and the Kiwi corpus marks no
"history of" at all, so of `temporal` only what is right and wrong by eye counts.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.documents.structure import read_structure
from kiwi_fhir.extract import load
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.normalize.context.arbiter import Arbiter, load_arbiter
from kiwi_fhir.normalize.text.words import lower
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Mention, Modifier

KINDS = ("negation", "uncertain", "condition", "subject", "temporal")
HEADINGS = load_headings(Mappings.read())
ASSERTIONS = ("present", "absent", "possible", "conditional", "hypothetical", "associated_with_someone_else")


def with_sections(document: Document) -> Document:
    """Gold notes have no sections: those of their structure."""
    structure = segment(document.note.text).structure
    mentions = (replace(mention, section=structure.kind_at(mention.span.start)) for mention in document.mentions)
    return replace(document, mentions=tuple(mentions))


def stripped(document: Document) -> Document:
    """The document without the modifiers that the rules could add."""
    mentions = (
        replace(mention, modifiers=tuple(held for held in mention.modifiers if held.label not in KINDS))
        for mention in document.mentions
    )
    return replace(document, mentions=tuple(mentions))


def completed(arbiter: Arbiter, document: Document) -> Document:
    """The document with what the rules add."""
    text = document.note.text
    rulings = arbiter.rule(text, lower(text), document.mentions, read_structure(text, HEADINGS))
    return replace(document, mentions=tuple(ruling.mention for ruling in rulings))


def alone(arbiter: Arbiter, documents: Sequence[Document]) -> dict[str, Counter[str]]:
    """Right, wrong and missed links of the rules alone, by kind of modifier."""
    counts = {kind: Counter[str]() for kind in KINDS}
    for document in documents:
        for gold, found in zip(document.mentions, completed(arbiter, stripped(document)).mentions, strict=True):
            for kind in KINDS:
                wanted, made = _held(gold, kind), _held(found, kind)
                if kind == "temporal":  # only stated history is looked for: others are no misses
                    wanted = [held for held in wanted if "history" in held.span.of(document.note.text).lower()]
                elif kind == "subject" and wanted and made and not any(_overlap(w, m) for w in wanted for m in made):
                    counts[kind].update(wrong=1, missed=1)
                    continue
                key = {(True, True): "right", (True, False): "missed", (False, True): "wrong"}
                if wanted or made:
                    counts[kind][key[bool(wanted), bool(made)]] += 1
    return counts


def assertions(normalizer: Normalizer, gold: Sequence[Document], found: Sequence[Document]) -> Counter[tuple[str, str]]:
    """Gold's and the found assertion of each gold problem that was found."""
    counts: Counter[tuple[str, str]] = Counter()
    for truth, document in zip(gold, found, strict=True):
        problems = [fact for fact in normalizer.facts(document) if fact.mention.label == "problem"]
        for fact in Normalizer.facts(PLAIN, truth):
            if fact.mention.label != "problem" or fact.allergy is not None:
                continue
            near = [other for other in problems if _overlap(other.mention, fact.mention) and not other.mention.rule]
            if near:
                counts[fact.assertion, near[0].assertion] += 1
    return counts


def _held(mention: Mention, kind: str) -> list[Modifier]:
    return [held for held in mention.modifiers if held.label == kind]


def _overlap(one: Mention | Modifier, other: Mention | Modifier) -> bool:
    return one.span.start < other.span.end and other.span.start < one.span.end


def without_rules(normalizer: Normalizer) -> Normalizer:
    """The same normaliser with `enabled = false` in context.toml."""
    normalizer._arbiter = replace(normalizer._arbiter, enabled=False)
    return normalizer


PLAIN = without_rules(Normalizer())


def show(mappings: Path | None, found: Sequence[Document]) -> None:
    """Each mention whose assertion the rules changed, with the words around it."""
    before, after = without_rules(Normalizer(Mappings.read(mappings))), Normalizer(Mappings.read(mappings))
    for document in found:
        text = document.note.text
        old = {fact.mention.span: fact.assertion for fact in before.facts(document)}
        for fact in after.facts(document):
            span = fact.mention.span
            if old.get(span, fact.assertion) != fact.assertion:
                around = " ".join(text[max(0, span.start - 70) : span.end + 40].split())
                print(f"  {fact.text}: {old[span]} -> {fact.assertion} | {around}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gold", type=Path)
    parser.add_argument("--only", type=Path, help="a file that names the notes")
    parser.add_argument("--leave-out", type=Path, help="a file that names notes to leave out")
    parser.add_argument("--sample", type=int, help="so many notes, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="default", help="'none' leaves the second table out")
    parser.add_argument("--mappings", type=Path)
    parser.add_argument("--show", action="store_true", help="print what the rules changed in the model's output")
    arguments = parser.parse_args()

    names = {path.stem for path in arguments.gold.glob("*.ann")}
    if arguments.only is not None:
        names &= set(arguments.only.read_text().split())
    if arguments.leave_out is not None:
        names -= set(arguments.leave_out.read_text().split())
    if arguments.sample is not None:
        names = set(random.Random(arguments.seed).sample(sorted(names), min(arguments.sample, len(names))))
    gold = [with_sections(document) for document in read_folder(arguments.gold, only=frozenset(names))]
    print(f"{len(gold)} notes, {sum(len(document.mentions) for document in gold)} gold mentions")

    arbiter = load_arbiter(Mappings.read(arguments.mappings))
    started = time.process_time()
    for document in gold:
        completed(arbiter, document)
    spent = time.process_time() - started
    print(f"{1000 * spent / len(gold):.2f} ms a note\n\nThe rules alone:")
    print(f"  {'':10} {'gold':>5} {'right':>6} {'wrong':>6} {'precision':>10} {'recall':>7}")
    for kind, count in alone(arbiter, gold).items():
        right, wrong, missed = count["right"], count["wrong"], count["missed"]
        print(
            f"  {kind:10} {right + missed:5} {right:6} {wrong:6} {right / max(1, right + wrong):10.3f} "
            f"{right / max(1, right + missed):7.3f}"
        )
    if arguments.model == "none":
        return
    found = load(arguments.model).predict([document.note for document in gold])
    tables = [assertions(without_rules(Normalizer(Mappings.read(arguments.mappings))), gold, found)]
    tables.append(assertions(Normalizer(Mappings.read(arguments.mappings)), gold, found))
    print("\nAssertions of found problems (precision, recall, F1), without -> with rules:")
    for value in ASSERTIONS:
        parts = []
        for table in tables:
            right = table[value, value]
            said = sum(count for (_, made), count in table.items() if made == value)
            true = sum(count for (wanted, _), count in table.items() if wanted == value)
            parts.append(f"{right / max(1, said):.3f} {right / max(1, true):.3f} {2 * right / max(1, said + true):.3f}")
        true = sum(count for (wanted, _), count in tables[0].items() if wanted == value)
        print(f"  {value:30} {true:5}   {' -> '.join(parts)}")
    for name, table in zip(("without", "with"), tables, strict=True):
        right = sum(count for (wanted, made), count in table.items() if wanted == made)
        print(f"  {name:8} {right} of {table.total()} right ({right / max(1, table.total()):.4f})")
    if arguments.show:
        show(arguments.mappings, found)


if __name__ == "__main__":
    main()
