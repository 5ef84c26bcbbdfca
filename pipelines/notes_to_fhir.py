r"""Launch file for Beam runners: notes to FHIR bundles.

    python pipelines/notes_to_fhir.py \
        --source mimic-iii --input gs://bucket/NOTEEVENTS.csv.gz --output gs://bucket/out \
        --runner DataflowRunner --project P --region R --temp_location gs://bucket/tmp

What it does not know goes to Beam's PipelineOptions. On a distributed runner the shards of one file are spread over
the workers; they need this package and the same Python and Beam as the launcher (worker image or --requirements).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from kiwi_fhir.beam.files import files_for, store_for
from kiwi_fhir.beam.job import execute, options_of
from kiwi_fhir.config import Config, read_config
from kiwi_fhir.errors import KiwiError
from kiwi_fhir.run.prepare import prepare


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pipeline; the exit code is `kiwi-fhir run`'s."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="as of `kiwi-fhir run`: mimic-iii, fhir, ...")
    parser.add_argument("--input", required=True, action="append", help="file, folder, glob or URL; may be repeated")
    parser.add_argument("--output", required=True, help="folder or URL")
    parser.add_argument("--sink", action="append", help="ndjson or brat; may be repeated")
    parser.add_argument("--model", help="model folder, or default")
    parser.add_argument("--config", type=Path, help="TOML file with the settings of `kiwi-fhir run`")
    parser.add_argument("--resume", action="store_true", help="go on with the run that --output holds")
    own, beam_arguments = parser.parse_known_args(arguments)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    try:
        config = read_config(own.config) if own.config else Config()
        run = prepare(
            own.source,
            own.input,
            config.with_options(model=own.model, sink=tuple(own.sink or ())),
            files=files_for(own.input),
            store=store_for(own.output),
            resume=own.resume,
        )
        report = execute(run, options_of(beam_arguments))
    except KiwiError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{report['notes']['out']} notes written to {own.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
