"""A process that writes notes: `omop_writer.py URL FIRST LAST REPEAT RELEASE`. It says each shard of 25 notes."""

import sys

from omop_notes import maker, results

from kiwi_fhir.write.omop.sink import OmopSink

SHARD = 25


def write(url, first, last, repeat=1, release="1-abc", **tables):
    """Write the notes FIRST to LAST - 1, and give what was refused."""
    sink = OmopSink(url, **tables)
    made = maker(release=release, **tables)
    failures = []
    for start in range(first, last, SHARD):
        failures += sink.write(results(made, range(start, min(start + SHARD, last)), repeat=repeat))
        if __name__ == "__main__":
            print(start, flush=True)
    sink.close()
    return failures


if __name__ == "__main__":
    url, first, last, repeat, release = sys.argv[1:]
    assert write(url, int(first), int(last), int(repeat), release, notes=True, clinical=True) == []
