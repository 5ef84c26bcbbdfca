"""A process that writes notes: `omop_writer.py URL FIRST LAST REPEAT VERSION`. It says each shard of 25 notes."""

import sys

from omop_notes import maker, results

from kiwi_fhir.write.omop.sink import OmopSink

SHARD = 25


def write(url, first, last, repeat=1, version="1-abc (program 0)", **tables):
    """Write the notes FIRST to LAST - 1, and give what was refused."""
    sink = OmopSink(url, **tables)
    made = maker(version=version, **tables)
    failures = []
    for start in range(first, last, SHARD):
        failures += sink.write(results(made, range(start, min(start + SHARD, last)), repeat=repeat))
        if __name__ == "__main__":
            print(start, flush=True)
    sink.close()
    return failures


if __name__ == "__main__":
    url, first, last, repeat, version = sys.argv[1:]
    assert write(url, int(first), int(last), int(repeat), version, notes=True, clinical=True) == []
