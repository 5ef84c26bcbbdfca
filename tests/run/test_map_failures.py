"""A document that can't be mapped costs itself only, and its failure says where in our code it broke."""

import json
import re

from kiwi_fhir.config import Config
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.shards import map_shard
from kiwi_fhir.types import Document, Mention, Note, Shard, Span
from kiwi_fhir.write.shards import write_shard
from kiwi_fhir.write.store import LocalStore

TEXT = "Zebediah has pneumonia."


def test_the_failure_names_the_line_and_not_the_message(tmp_path):
    mapper = DocumentMapper(Config())
    good = Document(Note("good", TEXT), (Mention("problem", Span(13, 22)),), mapper.model)
    bad = Document(Note("bad", TEXT), (Mention("Zebediah", Span(13, 22)),), mapper.model)
    shard = map_shard(mapper, Shard("k", (bad, good), (), "d", last=True))
    assert [result.document.note.id for result in shard.items] == ["good"]
    (failure,) = shard.failures
    assert (failure.note_id, failure.stage, failure.error) == ("bad", "map", "mapping-error")
    assert re.fullmatch(r"kiwi_fhir\.[a-z_.]+:\d+", failure.at)
    write_shard(LocalStore(str(tmp_path)), shard, ("ndjson",), "f")
    written = (tmp_path / "manifest" / "k.failures.ndjson").read_text()
    assert json.loads(written)["at"] == failure.at
    assert "Zebediah" not in written
