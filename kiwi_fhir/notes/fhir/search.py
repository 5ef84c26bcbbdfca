"""A search of a FHIR server read to its end: page after page, each resource once, and counted against the total.

Pages move while others write to the server, and links of pages that were not asked for in time lead nowhere. So what
was read is remembered by id: a resource that comes twice is given out once, and a search that breaks off is begun anew.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from kiwi_fhir.clients.fhir import FhirClient, RequestRefused, dicts, issues_of, resource_of
from kiwi_fhir.errors import InputError, KiwiError, Unavailable, UsageError
from kiwi_fhir.notes.note_resources import DOCUMENT, REPORT

#: Resources of a page, where the query does not say: a page is held in memory, with the notes in it.
PAGE = 100
TYPES = (DOCUMENT, REPORT)
_STRICT = {"Prefer": "handling=strict"}  # a parameter that the server does not know would give too many notes
_QUERY = re.compile(r"(?:(?P<type>[A-Z][A-Za-z]*)(?:\?|$)|\?)?(?P<parameters>.*)", re.DOTALL)
_PARTIAL = ("_summary", "_elements", "_include", "_revinclude", "_contained", "_format")
_STARTS = 3
_ORDER = "_sort=_id"  # the same order each time lets a run go on where it stopped
_TOTAL = "_total=accurate"


@dataclass(frozen=True, slots=True)
class Search:
    """A search of one type; `parameters` are the caller's, `more` are the size of a page and what we add."""

    type: str
    parameters: str
    more: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The search below the server's base, with its parameters."""
        return self.with_("&".join(self.more))

    def with_(self, parameters: str) -> str:
        """The search with other parameters beside the caller's."""
        return f"{self.type}?{'&'.join(part for part in (self.parameters, parameters) if part)}"


def search_of(query: str) -> Search:
    """The search that `--query` asks for: `[TYPE?]PARAMETERS`, DocumentReference where no type is named.

    Raises UsageError for another type, and for a parameter with which resources are not whole.
    """
    found = _QUERY.fullmatch(query.strip())
    kind = (found["type"] if found else None) or DOCUMENT
    if kind not in TYPES:
        raise UsageError(f"The query is for {kind}: notes are in {' and '.join(TYPES)}.")
    # A plus sign would arrive as a space, and is meant: it begins the offset of a time.
    parts = [part for part in (found["parameters"] if found else "").replace("+", "%2B").split("&") if part]
    sizes = [part for part in parts if part.startswith("_count=")]
    parameters = "&".join(part for part in parts if part not in sizes)
    names = _names(parameters)
    for name in names:
        if name in _PARTIAL:
            raise UsageError(f"The query has {name}, with which notes are not whole: leave it out.")
    ours = [part for part in (_ORDER, _TOTAL) if part.partition("=")[0] not in names]
    return Search(kind, parameters, (sizes[-1] if sizes else f"_count={PAGE}", *ours))


def checked(client: FhirClient, search: Search) -> Search:
    """The search, asked for once for a look: what the server does not take of our own parameters is left out.

    Raises UsageError for a query that the server refuses or would leave a part of out, Unavailable, and KiwiError.
    """
    unsorted = tuple(part for part in search.more if part != _ORDER)
    for more in dict.fromkeys((search.more, unsorted, search.more[:1])):
        response = client.send("GET", search.with_("&".join(("_count=1", *more[1:]))), headers=_STRICT)
        if response.status_code != 400:
            break
    page, status = resource_of(response), response.status_code
    if status == 403:
        raise UsageError(f"{client.base} does not let us read {search.type} (403): our credentials lack the right.")
    if status == 404:
        raise UsageError(f"{client.base} has no {search.type} (404): is it the base URL of a FHIR server?")
    if status == 400:
        raise UsageError(f"{client.base} does not take the query{issues_of(page)}: check its parameters.")
    if status != 200 or page is None or page.get("resourceType") != "Bundle":
        raise UsageError(f"{client.base} is no FHIR server, or does not search {search.type} ({status}).")
    _check_used(client.base, search, page)
    return Search(search.type, search.parameters, more)


def pages(client: FhirClient, search: Search) -> Iterator[list[dict[str, Any]]]:
    """The resources of a search, page by page.

    Raises InputError, after the last page, for a search that breaks off or whose number is not the server's own;
    Unavailable for a server that is gone.
    """
    with closing(_Seen()) as seen:
        for start in range(_STARTS):
            try:
                yield from _from_the_start(client, search, seen)
                break
            except RequestRefused as error:
                if start + 1 == _STARTS:
                    raise InputError(f"{error} The search breaks off after {seen.count} resources.") from error
        _reconcile(client, search, seen)


def _from_the_start(client: FhirClient, search: Search, seen: _Seen) -> Iterator[list[dict[str, Any]]]:
    been: set[str] = set()
    for page in client.search(search.path, headers=_STRICT):
        total = page.get("total")
        seen.total = total if isinstance(total, int) and seen.total is None else seen.total
        found = [entry["resource"] for entry in dicts(page.get("entry")) if _is_match(entry, search.type)]
        if fresh := [resource for resource in found if seen.is_new(resource.get("id"))]:
            yield fresh
        own = next((link.get("url") for link in dicts(page.get("link")) if link.get("relation") == "next"), None)
        if own in been:
            raise InputError(f"{client.base} leads a search in a circle: it is read in part only.")
        been.add(str(own))


def _reconcile(client: FhirClient, search: Search, seen: _Seen) -> None:
    """Compare with the server's own number: that of the first page, or the one of now."""
    if seen.total is None or seen.count == seen.total:
        return
    now = count(client, search)
    if seen.count != (seen.total if now is None else now):
        raise InputError(
            f"{client.base} says that it has {seen.total if now is None else now} of {search.type}, and gave "
            f"{seen.count}: run again (`run` goes on with --resume)."
        )


def count(client: FhirClient, search: Search) -> int | None:
    """How many resources the server has for a search, None where it does not say."""
    try:
        page = resource_of(client.request("GET", search.with_("_summary=count")))
    except Unavailable:
        raise
    except KiwiError:
        return None
    total = page.get("total") if page is not None else None
    return total if isinstance(total, int) else None


def _is_match(entry: Mapping[str, Any], kind: str) -> bool:
    resource, search = entry.get("resource"), entry.get("search")
    mode = search.get("mode", "match") if isinstance(search, dict) else "match"
    return isinstance(resource, dict) and resource.get("resourceType") == kind and mode == "match"


def _check_used(base: str, search: Search, page: Mapping[str, Any]) -> None:
    """Refuse a search of which the server says that it left a parameter out: it would give notes of others too."""
    urls = (link.get("url") for link in dicts(page.get("link")) if link.get("relation") == "self")
    own = next((url for url in urls if isinstance(url, str)), "")
    used = _names(own.partition("?")[2])
    asked = [name for name in _names(search.parameters) if not name.startswith("_")]
    # A link that names none of what was asked for may be a mere number of the search.
    left_out = [name for name in asked if name not in used] if {*asked, "_count", "_sort"}.intersection(used) else []
    if left_out:
        raise UsageError(f"{base} leaves '{left_out[0]}' of the query out: it does not know it for {search.type}.")


def _names(parameters: str) -> list[str]:
    """The names of a query's parameters, without their modifiers."""
    return [name.partition(":")[0] for name, _ in parse_qsl(parameters, keep_blank_values=True)]


class _Seen:
    """Ids that were given out, in a file without a name, so that memory stays flat; and the server's total."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.count = 0
        # A generator may be gone on with in another thread than the one that began it.
        self._connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def is_new(self, name: object) -> bool:
        """Whether this id comes for the first time; a resource without one always does."""
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        if isinstance(name, str) and self._connection.execute(insert, (name,)).rowcount == 0:
            return False
        self.count += 1
        return True

    def close(self) -> None:
        self._connection.close()
