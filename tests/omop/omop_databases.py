"""Empty databases of each kind, and a way to look into them past the sink."""

import itertools
import sqlite3

import duckdb
import psycopg

_NUMBERS = itertools.count()


class Fresh:
    """An empty database: its URL for the sink, and a way to look into it past the sink."""

    def __init__(self, kind, url, connect):
        self.kind, self.url, self._connect = kind, url, connect

    def run(self, *statements):
        """Run statements, and give the rows of the last."""
        connection = self._connect()
        try:
            for statement in statements:
                cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
        finally:
            connection.close()
        return rows


def fresh(kind, folder, request):
    """An empty database of a kind."""
    if kind == "sqlite":
        return Fresh(kind, f"sqlite:///{folder}/cdm.sqlite", lambda: sqlite3.connect(folder / "cdm.sqlite"))
    if kind == "duckdb":
        path = str(folder / "cdm.duckdb")

        class Connection:
            def __init__(self):
                self._own = duckdb.connect(path)
                self.execute = self._own.execute
                self.commit = lambda: None
                self.close = self._own.close

        return Fresh(kind, f"duckdb:///{path}", Connection)
    server = request.getfixturevalue("postgres")
    name = f"cdm_{next(_NUMBERS)}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = server.url(name)
    return Fresh(kind, url, lambda: psycopg.connect(url))
