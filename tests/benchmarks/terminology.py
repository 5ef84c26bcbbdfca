"""How long a large terminology takes to build, how much memory, and how many lookups a second it answers.

    python tests/benchmarks/terminology.py [--names 1000000] [--kind athena|csv|default] [--lookups 200000]

The data is made up, in the files' real schema: syllables put together to names of two to five words, a fifth of them
synonyms, a third of the concepts leading to a standard one. The build runs in a process of its own, so that its peak
memory is its own. Lookups are of distinct phrases, so that nothing is answered from memory: half are names, half are
not. Times of lookups are of the processor, so that a busy machine does not count. Contract: a million names in under
60 s and under 1 GB; at least 50,000 lookups a second.
"""

from __future__ import annotations

import argparse
import csv
import lzma
import multiprocessing
import os
import random
import resource
import tempfile
import time
from pathlib import Path

from kiwi_fhir.normalize.terminology import load_linker
from kiwi_fhir.normalize.terminology.names import key
from kiwi_fhir.normalize.terminology.rules import load_rules
from kiwi_fhir.normalize.terminology.sources import NAMES, open_index
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Mention, Note, Span

DOMAINS = (
    ("Condition", "SNOMED", "Disorder", "problem"),
    ("Drug", "RxNorm", "Clinical Drug", "drug"),
    ("Measurement", "LOINC", "Lab Test", "test"),
    ("Procedure", "SNOMED", "Procedure", "treatment"),
)


def words(count: int) -> list[str]:
    """Made-up words."""
    rng = random.Random(1)
    syllables = [a + b for a in "bcdfglmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "or")]
    return ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(count)]


def name(rng: random.Random, vocabulary: list[str]) -> str:
    """A made-up name."""
    return " ".join(rng.choices(vocabulary, k=rng.randint(2, 5))).capitalize()


def write_athena(folder: Path, names: int) -> list[tuple[str, str]]:
    """CONCEPT.csv, CONCEPT_RELATIONSHIP.csv and CONCEPT_SYNONYM.csv; some (name, label) of them."""
    rng, vocabulary, kept = random.Random(2), words(60_000), []
    concepts = names * 4 // 5
    with (
        (folder / "CONCEPT.csv").open("w", encoding="utf-8") as concept,
        (folder / "CONCEPT_RELATIONSHIP.csv").open("w", encoding="utf-8") as relationship,
        (folder / "CONCEPT_SYNONYM.csv").open("w", encoding="utf-8") as synonym,
    ):
        concept.write(
            "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\t"
            "valid_start_date\tvalid_end_date\tinvalid_reason\n"
        )
        relationship.write(
            "concept_id_1\tconcept_id_2\trelationship_id\tvalid_start_date\tvalid_end_date\tinvalid_reason\n"
        )
        synonym.write("concept_id\tconcept_synonym_name\tlanguage_concept_id\n")
        for number in range(1, concepts + 1):
            domain, system, kind, label = DOMAINS[number % len(DOMAINS)]
            said, standard = name(rng, vocabulary), number % 3 != 0
            concept.write(
                f"{number}\t{said}\t{domain}\t{system}\t{kind}\t{'S' if standard else ''}\tC{number}\t19700101\t"
                "20991231\t\n"
            )
            target = number if standard else max(1, number - 4 * rng.randint(1, 100))
            relationship.write(f"{number}\t{target}\tMaps to\t19700101\t20991231\t\n")
            relationship.write(f"{target}\t{number}\tMapped from\t19700101\t20991231\t\n")
            if number % 4 == 0:
                synonym.write(f"{number}\t{name(rng, vocabulary)}\t4180186\n")
            kept.append((said, label))
    return kept


def write_csv(path: Path, names: int) -> list[tuple[str, str]]:
    """A CSV of name, code, system, type; its names and labels."""
    rng, vocabulary, kept = random.Random(2), words(60_000), []
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("name", "code", "system", "type"))
        for number in range(names):
            label = DOMAINS[number % len(DOMAINS)][3]
            said = name(rng, vocabulary)
            rows.writerow((said, f"C{number}", "http://example.org/codes", label))
            kept.append((said, label))
    return kept


def shipped() -> list[tuple[str, str]]:
    """The names that the program ships."""
    kept, label = [], ""
    for line in lzma.decompress(NAMES.read_bytes()).decode().splitlines():
        code, display, *named = line.rstrip("\n").split("\t")
        if code.startswith("#"):
            label = code[1:]
        kept += [(cell.partition(" ")[2] or display, label) for cell in named]
    return kept


def build(terminology: str) -> None:
    """Build the index in this process and tell its time and peak memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    index, _ = open_index(terminology, load_rules(Mappings.read()))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = index.path.stat().st_size
    print(
        f"build    {seconds:6.1f} s, peak {peak / 1024:.0f} MB (before {before / 1024:.0f}), {size / 1e6:.0f} MB file"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=("athena", "csv", "default"), default="athena")
    parser.add_argument("--lookups", type=int, default=200_000)
    parser.add_argument("--fuzzy", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        Path(folder, "names").mkdir()
        terminology = "default"
        if arguments.kind == "athena":
            terminology = str(Path(folder, "names"))
            known = write_athena(Path(terminology), arguments.names)
        elif arguments.kind == "csv":
            terminology = str(Path(folder, "names", "names.csv"))
            known = write_csv(Path(terminology), arguments.names)
        else:
            known = shipped()
        child = multiprocessing.get_context("spawn").Process(target=build, args=(terminology,))
        child.start()
        child.join()

        rng = random.Random(3)
        asked = [rng.choice(known) for _ in range(arguments.lookups // 2)]
        asked += [(f"{said[: len(said) // 2]}q{n}", label) for n, (said, label) in enumerate(asked)]
        rng.shuffle(asked)
        index, _ = open_index(terminology, load_rules(Mappings.read()))
        started = time.process_time()
        found = sum(bool(index.find(key(said), label)) for said, label in asked)
        seconds = time.process_time() - started
        print(f"index    {len(asked) / seconds:9,.0f} lookups/s, {found / len(asked):.0%} found")

        linker, _ = load_linker(terminology, fuzzy=arguments.fuzzy)
        assert linker is not None
        documents = [document(asked[start : start + 40]) for start in range(0, len(asked), 40)]
        for round_ in ("linker", "again"):
            started = time.process_time()
            found = sum(sum(map(bool, linker.codings(item))) for item in documents)
            seconds = time.process_time() - started
            print(f"{round_:8} {len(asked) / seconds:9,.0f} lookups/s, {found / len(asked):.0%} found")


def document(asked: list[tuple[str, str]]) -> Document:
    """A note that says these names, one a line."""
    text, mentions = "", []
    for said, label in asked:
        mentions.append(Mention(label, Span(len(text), len(text) + len(said))))
        text += f"{said}\n"
    return Document(Note("n", text), tuple(mentions), "benchmark")


if __name__ == "__main__":
    main()
