"""Mentions to codes: code tables, official names, vocabularies of the user's own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from kiwi_fhir.errors import UsageError
from kiwi_fhir.normalize.terminology.cache import digest_of
from kiwi_fhir.normalize.terminology.codes import load_codes
from kiwi_fhir.normalize.terminology.linker import Linker, TermLinker
from kiwi_fhir.normalize.terminology.rules import Rules, load_rules
from kiwi_fhir.normalize.terminology.sources import DEFAULT, NONE, open_index
from kiwi_fhir.tables import Mappings

__all__ = ["DEFAULT", "NONE", "Linker", "TermLinker", "load_linker"]


def load_linker(
    terminology: str = DEFAULT,
    *,
    fuzzy: bool = False,
    medcat: bool = False,
    trust_pack: bool = False,
    mappings: Mappings | None = None,
) -> tuple[Linker | None, str]:
    """The linker of `--terminology` and the digest of what it knows beside the mapping files.

    `default` is the names we ship, `none` no linker, all else the path of an Athena folder or a CSV. The first call for
    a terminology builds its index. `medcat` has MedCAT link in place of our tables and index, on a CSV or on a model
    pack; a pack is unpickled, so only with `trust_pack`. Raises UsageError, InputError and MappingError.
    """
    if terminology == NONE:
        return None, NONE
    mappings = mappings or Mappings.read()
    rules = load_rules(mappings)
    if medcat:
        return _medcat(Path(terminology), rules, trusted=trust_pack)
    tables = load_codes(mappings, rules.sides)
    index, digest = open_index(terminology, rules)
    return TermLinker(tables, rules, index, fuzzy=fuzzy), digest


def _medcat(path: Path, rules: Rules, *, trusted: bool) -> tuple[Linker, str]:
    if find_spec("medcat") is None:
        raise UsageError("MedCAT is not installed: pip install 'kiwi_fhir[medcat]'.")
    is_pack = path.is_dir() or path.suffix == ".zip"
    if not is_pack and not path.is_file():
        raise UsageError(f"--medcat needs --terminology with a CSV or a MedCAT model pack; '{path}' is neither.")
    if is_pack and not trusted:
        raise UsageError(
            f"Loading the MedCAT model pack '{path}' runs code that is in it: add --trust-pack if you know its maker."
        )
    from kiwi_fhir.normalize.terminology.medcat import MedCatLinker

    if not is_pack:
        return MedCatLinker.from_csv(path, rules.systems), digest_of([path], "medcat")
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    return MedCatLinker.from_pack(path, rules.systems), digest_of(files, "medcat")
