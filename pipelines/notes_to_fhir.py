r"""Launch file for Beam runners: `kiwi-fhir run` in a file of its own.

    python pipelines/notes_to_fhir.py \
        --source mimic-iii --input gs://bucket/NOTEEVENTS.csv.gz --output gs://bucket/out \
        --runner DataflowRunner --project P --region R --temp_location gs://bucket/tmp

It takes every option of `kiwi-fhir run`. What that command does not know goes to Beam's PipelineOptions, with or
without `--` before it; what Beam does not know either ends with exit code 2. On a distributed runner the shards of one
file are spread over the workers; they need this package and the same Python and Beam as the launcher (worker image or
--requirements_file).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from typer.main import get_command

from kiwi_fhir.cli import main
from kiwi_fhir.cli.commands import app


def launch(arguments: Sequence[str]) -> None:
    """Run the pipeline. Ends with SystemExit; its code is that of `kiwi-fhir run`."""
    run = get_command(app).commands["run"]  # type: ignore[attr-defined]
    run.context_settings["ignore_unknown_options"] = True
    main(partial(run, list(arguments)))


if __name__ == "__main__":
    launch(sys.argv[1:])
