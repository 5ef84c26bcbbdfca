"""Statements drawn from a run, to be judged by eye against their notes; and the table of what was judged.

    python tests/facts/audit.py draw OUT --notes FOLDER [-n 200] [--seed 13] -o SHEET.ndjson
    python tests/facts/audit.py count SHEET.ndjson

OUT is the output of `kiwi-fhir run --source text --input FOLDER`. A statement is a resource without its Patient, note
or Provenance. As many are drawn of each type as it has of all statements. Who judges has not written the rules, and
adds to each line of the sheet a `verdict` and, unless it is right, a `why`:

right           all that the resource states is what the note says: what, of whom, whether, when, how much, its code
partly          nothing stated is wrong, but something that the words say of it is left out or only text
wrong-harmless  something stated is wrong, which could not change what is done for the patient
wrong-harm      something stated is wrong that could: a denied, planned or another person's problem as present, a wrong
                value, dose, schedule or code, a drug that is not taken as active, an allergy too many or too few

The sheet holds words of the notes: it stays outside of the project.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from judge import compact, places, stated_in

VERDICTS = ("right", "partly", "wrong-harmless", "wrong-harm")
CONTEXT = 200  # characters of the note on either side of a statement's words


def draw(out: Path, notes: Path, number: int, seed: int) -> list[dict[str, Any]]:
    """A sheet's lines: by type as often as it occurs (largest remainders), in random order."""
    by_type: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((out / "bundles").glob("*.ndjson")):
        for line in path.read_text(encoding="utf-8").splitlines():
            bundle = json.loads(line)
            for resource in stated_in(bundle):
                by_type[resource["resourceType"]].append({"note": _note_of(bundle), "resource": resource})
    total = sum(map(len, by_type.values()))
    shares = {kind: number * len(found) / total for kind, found in by_type.items()}
    takes = {kind: math.floor(share) for kind, share in shares.items()}
    for kind in sorted(shares, key=lambda kind: (takes[kind] - shares[kind], kind))[: number - sum(takes.values())]:
        takes[kind] += 1
    chance = random.Random(seed)
    drawn = [line for kind in sorted(by_type) for line in chance.sample(by_type[kind], takes[kind])]
    chance.shuffle(drawn)
    return [_line(index, item, notes) for index, item in enumerate(drawn, 1)]


def _note_of(bundle: dict[str, Any]) -> str:
    resources = (entry["resource"] for entry in bundle["entry"])
    (provenance,) = (resource for resource in resources if resource["resourceType"] == "Provenance")
    return str(provenance["entity"][0]["what"]["identifier"]["value"])


def _line(number: int, item: dict[str, Any], notes: Path) -> dict[str, Any]:
    (path,) = notes.rglob(f"{item['note']}.txt")
    text = path.read_bytes().decode()
    words = []
    for offset, length in places(item["resource"]):
        start, end = max(0, offset - CONTEXT), offset + length + CONTEXT
        words.append(f"{text[start:offset]}[[{text[offset : offset + length]}]]{text[offset + length : end]}")
    return {"number": number, "note": item["note"], "stated": compact(item["resource"]), "words": words}


def count(lines: list[dict[str, Any]]) -> str:
    """A Markdown table: verdicts by type of resource, shares of all with 95 % intervals by Wilson's score."""
    kinds = defaultdict(Counter)
    for line in lines:
        kinds[line["stated"]["resource"]][line["verdict"]] += 1
    total = sum(kinds.values(), Counter())
    rows = [["", "n", *VERDICTS], ["---"] * (2 + len(VERDICTS))]
    for kind, found in sorted(kinds.items(), key=lambda item: -item[1].total()):
        rows.append([kind, str(found.total()), *(str(found[verdict]) for verdict in VERDICTS)])
    rows.append(["all", str(total.total()), *(str(total[verdict]) for verdict in VERDICTS)])
    rows.append(["share", "", *(_share(total[verdict], total.total()) for verdict in VERDICTS)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _share(hits: int, number: int) -> str:
    z, share = 1.96, hits / number
    middle = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z * math.sqrt(share * (1 - share) / number + z * z / (4 * number**2)) / (1 + z * z / number)
    return f"{100 * share:.1f} % ({100 * max(0, middle - half):.1f}-{100 * min(1, middle + half):.1f})"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    drawing = actions.add_parser("draw")
    drawing.add_argument("out", type=Path)
    drawing.add_argument("--notes", type=Path, required=True)
    drawing.add_argument("-n", type=int, default=200)
    drawing.add_argument("--seed", type=int, default=13)
    drawing.add_argument("-o", "--output", type=Path, required=True)
    actions.add_parser("count").add_argument("sheet", type=Path)
    options = parser.parse_args()
    if options.action == "draw":
        lines = draw(options.out, options.notes, options.n, options.seed)
        options.output.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    else:
        print(count([json.loads(line) for line in options.sheet.read_text(encoding="utf-8").splitlines()]))


if __name__ == "__main__":
    main()
