"""Addresses of databases as SQLAlchemy writes them, without showing what is secret in them.

`${NAME}` in a user, password, host or database is taken from the environment, so that no password needs to stand on a
command line. For PostgreSQL PGPASSWORD, PGPASSFILE and the other PG* variables count too.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from kiwi_fhir.errors import UsageError

POSTGRESQL, SQLITE, DUCKDB = "postgresql", "sqlite", "duckdb"
_KINDS = {
    "postgresql": POSTGRESQL,
    "postgres": POSTGRESQL,
    "postgresql+psycopg": POSTGRESQL,
    "sqlite": SQLITE,
    "sqlite+pysqlite": SQLITE,
    "duckdb": DUCKDB,
}
_DRIVERS = {POSTGRESQL: "postgresql+psycopg", SQLITE: "sqlite+pysqlite", DUCKDB: "duckdb"}
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SCHEMA = "schema"
_HERE = frozenset({"", "localhost", "127.0.0.1", "::1"})
_SECRET = frozenset({"password", "passwd", "pwd", "user", "passfile", "sslpassword"})


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """`kind` is postgresql, sqlite or duckdb; `url` is for the driver, with the password; `schema` is of `?schema=`.

    The text of it (and its repr) hides the password.
    """

    kind: str
    url: URL
    schema: str | None = None

    def __str__(self) -> str:
        shown = self.url.render_as_string(hide_password=True)
        return shown.replace(_DRIVERS[self.kind], self.kind, 1)

    def __repr__(self) -> str:
        return f"DatabaseUrl({self})"


def database_url(address: str, environment: Mapping[str, str] = os.environ) -> DatabaseUrl:
    """Read an address. Raises UsageError, which shows no part of one that can't be read."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            "A database is named by a URL such as postgresql://USER@HOST/DATABASE or sqlite:///FILE; this is none."
        ) from error
    kind = _KINDS.get(url.drivername)
    if kind is None:
        raise UsageError(f"There is no driver for '{url.drivername}': use postgresql, sqlite or duckdb.")
    secret = sorted(_SECRET & {name.lower() for name in url.query})
    if secret:
        raise UsageError(f"The database's URL has '{secret[0]}' behind the '?': it belongs before the host.")
    parts: dict[str, Any] = {}
    for part in ("username", "password", "host", "database"):
        value = getattr(url, part)
        if value:
            parts[part] = _VARIABLE.sub(lambda found: _value(found[1], environment), str(value))
    schema = url.query.get(_SCHEMA)
    if schema is not None and (not isinstance(schema, str) or not schema):
        raise UsageError("The database's URL names no schema, or several: write ?schema=NAME once.")
    if kind != POSTGRESQL and parts.get("database", ":memory:") == ":memory:":
        raise UsageError(f"A {kind} database in memory would be gone with the run: write {kind}:///FILE.")
    url = url.difference_update_query([_SCHEMA]).set(drivername=_DRIVERS[kind], **parts)
    return DatabaseUrl(kind, url, schema)


def tls_options(address: DatabaseUrl, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """libpq's options for a connection that is encrypted and verified.

    There are some for a PostgreSQL on another machine where neither the URL nor the environment says how (`sslmode`,
    PGSSLMODE, PGSERVICE): libpq itself would go on without.
    """
    query = address.url.query
    host = str(address.url.host or query.get("host") or environment.get("PGHOST", ""))
    stated = {"sslmode", "service"} & query.keys() or {"PGSSLMODE", "PGSERVICE"} & environment.keys()
    if address.kind != POSTGRESQL or stated or host in _HERE or host.startswith("/"):
        return {}
    options = {"sslmode": "verify-full"}
    own = Path("~/.postgresql/root.crt").expanduser()
    if "sslrootcert" not in query and "PGSSLROOTCERT" not in environment and not own.is_file():
        # The authorities that the system trusts: psycopg's own OpenSSL does not know where they are.
        options["sslrootcert"] = ssl.get_default_verify_paths().cafile or "system"
    return options


def _value(name: str, environment: Mapping[str, str]) -> str:
    if not environment.get(name):
        raise UsageError(f"The database's URL names ${{{name}}}, which the environment does not have.")
    return environment[name]
