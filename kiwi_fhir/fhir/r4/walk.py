"""FHIR's types compiled into tables of checks, and the walk over a resource.

Built for speed, as it runs on every resource before it is written: a path is put together only where something is
wrong. Findings never hold a value of the resource, which may be a note's text.
It is long since compiling and walking share the tables' layout: neither can be read or changed without the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from kiwi_fhir.fhir.r4 import spec
from kiwi_fhir.fhir.r4.invariants import INVARIANTS, Rule, codes_of
from kiwi_fhir.fhir.r4.primitives import OTHERS, TEXTS, TextTest

# The last but one is a search, in a transaction: http://hl7.org/fhir/R4/http.html#trules
_REFERENCE = re.compile(
    r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?|#.*|[A-Z][A-Za-z]{1,63}\?\S+"
    r"|[a-z][a-z0-9+.-]*:\S+"
)
# Types with a dot are BackboneElements but for these two; of the others only Timing and Dosage are.
_MOST_KEPT, _TEXT = 4096, frozenset({str})
_PLAIN, _BACKBONE = ("Timing.repeat", "Dosage.doseAndRate"), ("Timing", "Dosage")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong where: `path` as `Condition.onsetDateTime`, `rule` a key of the specification or of ours.

    Ours are `structure` (elements, cardinality, types), `required-code`, `syntax`, `code-system`, `code-syntax`,
    `ucum`, `reference` and `bundle`. `is_warning` is of what may be right where the bundle goes.
    """

    path: str
    rule: str
    message: str
    is_warning: bool = False


Path: TypeAlias = tuple[Any, str | int] | str


@dataclass(slots=True)
class Report:
    """What a walk gathers: findings, and the references into `contained`.

    `known` holds the shared objects that were right before, by identity (kept, so that no other object gets it), None
    where nothing is shared.
    """

    findings: list[Finding] = field(default_factory=list)
    local: set[str] = field(default_factory=set)
    known: dict[int, Any] | None = None

    def add(self, path: Path, rule: str, message: str, *, is_warning: bool = False) -> None:
        """Note a finding."""
        self.findings.append(Finding(_render(path), rule, message, is_warning))


_Check = Callable[[Any, Path, Report], None]
_IS_URI = TEXTS["uri"][0]
#: The primitives of Extension.value[x]: the type that the test wants (None: it looks itself), and the test.
_VALUES: dict[str, tuple[type | None, Callable[[Any], bool]]] = {
    f"value{name[0].upper()}{name[1:]}": (str if name in TEXTS else None, test)
    for name, (test, _) in {**TEXTS, **OTHERS}.items()
    if name in spec.OPEN_TYPES.split()
}


class _Element(NamedTuple):
    """How an element is checked; `test` is there for a single text, and passing it saves the call and the path."""

    check: _Check
    many: bool = False
    test: TextTest | None = None


@dataclass(slots=True)
class _Type:
    """The checks of one complex type."""

    elements: dict[str, _Element]
    required: tuple[str, ...]
    choices: tuple[tuple[str, frozenset[str], bool], ...]
    invariants: tuple[tuple[str, Rule], ...]

    def check(self, value: Any, path: Path, report: Report) -> None:
        """Check an object of the type."""
        if type(value) is not dict or not value:
            report.add(path, "structure", "must be an object with at least one element")
            return
        elements = self.elements
        for key, item in value.items():
            known = elements.get(key)
            if known is None:
                self._unknown(key, value, path, report)
                continue
            check, many, test = known
            if test is not None and type(item) is str and test(item):
                continue
            if not many:
                check(item, (path, key), report)
            elif type(item) is list and item:
                for index, part in enumerate(item):
                    check(part, ((path, key), index), report)
            else:
                report.add((path, key), "structure", "must be a list with at least one item")
        for name in self.required:
            if name not in value:
                report.add((path, name), "structure", "is missing")
        for name, names, required in self.choices:
            if not required and names.isdisjoint(value):
                continue
            stated = len(names & value.keys())
            if stated > 1 or (required and not stated):
                message = "has more than one type" if stated else "is missing"
                report.add((path, f"{name}[x]"), "structure", message)
        for rule, invariant in self.invariants:
            problem = invariant(value)
            if problem is not None:
                report.add(path, rule, problem)

    def _unknown(self, key: str, value: Mapping[str, Any], path: Path, report: Report) -> None:
        """An element without a table: `_name` carries the id and extensions of a primitive."""
        if key == "resourceType":
            return
        if key.startswith("_") and key[1:] in self.elements and isinstance(value[key], dict):
            type_of("Element").check(value[key], (path, key), report)
        else:
            report.add((path, key), "structure", "is not an element of this type")


def walk_resource(resource: Any, path: Path, report: Report) -> None:
    """Check a resource (not a contained one) into `report`; of types that spec.py does not have only the id."""
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(kind, str):
        report.add((path, "resourceType"), "structure", "is missing")
        return
    if kind not in spec.RESOURCES:
        if "id" in resource:
            _primitive("id", "")(resource["id"], (path, "id"), report)
        return
    contained = resource.get("contained")
    outer, report.local = report.local, set()
    type_of(kind).check(resource, path, report)
    if contained or report.local:
        _check_contained(contained, path, report)
    report.local = outer


def _check_contained(contained: object, path: Path, report: Report) -> None:
    """dom-2, dom-3 and ref-1: what is contained is referred to, what is referred to is contained."""
    inside = [item for item in contained if isinstance(item, dict)] if isinstance(contained, list) else []
    ids = {f"#{item.get('id')}" for item in inside}
    if ids - report.local:
        report.add((path, "contained"), "dom-3", "holds a resource that nothing refers to")
    if report.local - ids - {"#"}:
        report.add(path, "ref-1", "refers to a contained resource that is not there")
    for item in inside:
        meta = item.get("meta")
        if "contained" in item:
            report.add((path, "contained"), "dom-2", "must not hold contained resources itself")
        if isinstance(meta, dict) and {"versionId", "lastUpdated"} & meta.keys():
            report.add((path, "contained"), "dom-4", "a contained resource must have no versionId and no lastUpdated")
        if isinstance(meta, dict) and "security" in meta:
            report.add((path, "contained"), "dom-5", "a contained resource must have no security label")


def _check_contained_resource(resource: Any, path: Path, report: Report) -> None:
    """A resource in `contained`; its references to its neighbours count for the resource around it."""
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(kind, str):
        report.add((path, "resourceType"), "structure", "is missing")
    elif kind in spec.RESOURCES:
        type_of(kind).check(resource, path, report)


def _once(check: _Check) -> _Check:
    """`check`, but for objects that it found right in an earlier resource."""

    def run(value: Any, path: Path, report: Report) -> None:
        known = report.known
        if known is None:
            check(value, path, report)
        elif id(value) not in known:
            earlier = len(report.findings)
            check(value, path, report)
            # what refers to `contained` counts for each resource
            if len(report.findings) == earlier and value.get("reference", "")[:1] != "#":
                known[id(value)] = value

    return run


@_once
def _check_reference(value: Any, path: Path, report: Report) -> None:
    type_of("Reference").check(value, path, report)
    reference = value.get("reference") if type(value) is dict else None
    if reference is None:
        return
    if type(reference) is not str or not _REFERENCE.fullmatch(reference):
        report.add((path, "reference"), "reference", "must be Type/id, an absolute URL, a urn or #id")
    elif reference[0] == "#":
        report.local.add(reference)


def _reference_to(targets: str) -> _Check:
    """A Reference that may be to some types only; of a URL or urn the type is not known."""
    types = frozenset(targets.replace(" ", "").split(","))

    def run(value: Any, path: Path, report: Report) -> None:
        _check_reference(value, path, report)
        if type(value) is not dict:
            return
        reference, kind = value.get("reference"), value.get("type")
        if type(reference) is str and reference[:1].isupper():
            kind = reference.partition("?")[0].partition("/")[0]
        if type(kind) is str and kind not in types and "/" not in kind:
            report.add(path, "reference", f"must refer to {', '.join(sorted(types))}")

    return run


def _remembered(check: _Check) -> _Check:
    """`check` of a CodeableConcept, but for those that are only a coding (a status, a category) that was right before.

    What is remembered are the names and texts of that coding; other concepts say more of the note.
    """
    right: set[tuple[tuple[str, Any], ...]] = set()

    def run(value: Any, path: Path, report: Report) -> None:
        codings = value.get("coding") if type(value) is dict and len(value) == 1 else None
        coding = codings[0] if type(codings) is list and len(codings) == 1 else None
        if type(coding) is not dict or not _TEXT.issuperset(map(type, coding.values())):
            check(value, path, report)
            return
        said = tuple(coding.items())
        if said in right:
            return
        earlier = len(report.findings)
        check(value, path, report)
        if len(report.findings) == earlier and len(right) < _MOST_KEPT:
            right.add(said)

    return run


def _check_extensions(value: Any, path: Path, report: Report) -> None:
    """A list of extensions. Half of all objects are extensions: those that are right take a short way."""
    if type(value) is not list or not value:
        report.add(path, "structure", "must be a list with at least one item")
    elif not _are_right(value, report):
        for index, part in enumerate(value):
            type_of("Extension").check(part, (path, index), report)


def _are_right(extensions: list[Any], report: Report) -> bool:
    """Whether each is a url with a primitive, a Reference or such extensions, and right; False says nothing."""
    try:
        for extension in extensions:
            (name, url), (key, item) = extension.items()
            if name != "url" or type(url) is not str or not _IS_URI(url):
                return False
            if key == "extension":
                if type(item) is not list or not item or not _are_right(item, report):
                    return False
            elif key == "valueReference":
                earlier = len(report.findings)
                _check_reference(item, "", report)
                if len(report.findings) > earlier:
                    del report.findings[earlier:]  # the long way finds them too, with their path
                    return False
            else:
                kind, test = _VALUES[key]
                if (kind is not None and type(item) is not kind) or not test(item):
                    return False
    except (AttributeError, KeyError, ValueError):  # no object, another type, not two elements
        return False
    return True


def _check_anything(value: Any, path: Path, report: Report) -> None:
    """A type that spec.py does not have."""


def _text_test(name: str, value_set: str) -> TextTest | None:
    """The test of a primitive that is a JSON string, None for other types."""
    if name in TEXTS and value_set:
        return frozenset(spec.VALUE_SETS[value_set].split()).__contains__
    return TEXTS[name][0] if name in TEXTS else None


def _primitive(name: str, value_set: str) -> _Check:
    rule, wanted = "syntax", (TEXTS.get(name) or OTHERS[name])[1]
    if value_set:
        rule, wanted = "required-code", f"one of {', '.join(sorted(spec.VALUE_SETS[value_set].split()))}"
    text_test = _text_test(name, value_set)
    test = OTHERS[name][0] if text_test is None else text_test
    is_text = text_test is not None

    def run(value: Any, path: Path, report: Report) -> None:
        if (is_text and type(value) is not str) or not test(value):
            report.add(path, rule, f"must be {wanted}")

    return run


def _bound_concept(value_set: str) -> _Check:
    """A CodeableConcept with a required binding: one of its codings must be of the value set."""
    codes, system = frozenset(spec.VALUE_SETS[value_set].split()), spec.SYSTEMS[value_set]

    def run(value: Any, path: Path, report: Report) -> None:
        type_of("CodeableConcept").check(value, path, report)
        if not codes & codes_of(value, system):
            report.add(path, "required-code", f"must have a coding of {system}: one of {', '.join(sorted(codes))}")

    return run


def _element(name: str, value_set: str = "", *, many: bool = False) -> _Element:
    if name == "Extension":
        return _Element(_check_extensions)
    return _Element(_check_of(name, value_set), many, None if many else _text_test(name, value_set))


def _check_of(name: str, value_set: str = "") -> _Check:
    """The check of a type by its name, which may be one that is compiled later."""
    if name in TEXTS or name in OTHERS:
        return _primitive(name, value_set)
    if name == "Reference":
        return _reference_to(value_set) if value_set else _check_reference
    if value_set:
        return _remembered(_bound_concept(value_set))
    if name == "Meta":
        return _once(type_of(name).check)
    if name == "CodeableConcept":
        return _remembered(type_of(name).check)
    if name == "Resource":
        return _check_contained_resource
    if name == "AnyResource":
        return walk_resource
    if name not in _lines():
        return _check_anything
    return type_of(name).check


@cache
def _lines() -> dict[str, str]:
    """Type -> its elements, as spec.py writes them."""
    lines: dict[str, str] = {}
    name = ""
    for line in spec.TYPES.strip().splitlines():
        if not line.startswith(" "):
            name, _, line = line.partition(":")
        lines[name] = f"{lines.get(name, '')} {line.strip()}".strip()
    choice = "|".join(spec.OPEN_TYPES.split())
    return {**lines, "Extension": f"url! uri; value[x] {choice}", "Element": ""}


_compiled: dict[str, _Type] = {}


def type_of(name: str) -> _Type:
    """The compiled checks of a type; types refer to each other, so an empty one is put in place first."""
    known = _compiled.get(name)
    if known is not None:
        return known
    made = _compiled[name] = _Type({}, (), (), INVARIANTS.get(name, ()))
    base = spec.DOMAIN_BASE if name in spec.RESOURCES else spec.ELEMENT_BASE
    if name == "Bundle":
        base = spec.RESOURCE_BASE
    if name in _BACKBONE or ("." in name and name not in _PLAIN):
        base = spec.BACKBONE_BASE
    required, choices = [], []
    for element in f"{base}; {_lines()[name]}".rstrip("; ").split(";"):
        label, _, types = element.strip().partition(" ")
        bare, many = label.rstrip("!*"), label.endswith("*")
        if bare.endswith("[x]"):
            stem = bare.removesuffix("[x]")
            kinds = (kind.partition("=") for kind in types.split("|"))
            names = {f"{stem}{kind[0].upper()}{kind[1:]}": _element(kind, targets) for kind, _, targets in kinds}
            made.elements.update(names)
            choices.append((stem, frozenset(names), "!" in label))
            continue
        kind, _, value_set = types.partition("=")
        made.elements[bare] = _element(kind, value_set, many=many)
        if "!" in label:
            required.append(bare)
    made.required, made.choices = tuple(required), tuple(choices)
    return made


def _render(path: Path) -> str:
    if isinstance(path, str):
        return path
    parent, key = path
    return f"{_render(parent)}[{key}]" if isinstance(key, int) else f"{_render(parent)}.{key}"
