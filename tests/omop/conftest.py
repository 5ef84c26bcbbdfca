"""Databases and notes for the tests of the OMOP sink."""

import databases
import pytest
from omop_databases import fresh


@pytest.fixture(scope="session")
def postgres():
    """A server; skipped where there can be none."""
    reason = databases.why_not()
    if reason is not None:
        pytest.skip(reason)
    server = databases.PostgreSQLServer()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def database(request, tmp_path):
    """An empty database of each kind."""
    return fresh(request.param, tmp_path, request)


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("duckdb", marks=pytest.mark.slow)])
def shared(request, tmp_path):
    """The same, for tests with many processes: each waits long for a DuckDB file."""
    return fresh(request.param, tmp_path, request)


@pytest.fixture
def postgresql(request, tmp_path):
    """An empty database on PostgreSQL."""
    return fresh("postgresql", tmp_path, request)
