"""The options that several commands share, or that have a long help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[str, typer.Option(help="document-reference, mimic-iii, mimic-iv, omop, text or fhir.")]
Input = Annotated[list[str], typer.Option("--input", "-i", help="A file, a folder, a glob or a URL; may be repeated.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="default, smollm2-tagger, smollm2, a model folder, or the URL of a server with a LLaMA.",
        show_default="default",
    ),
]
Templates = Annotated[
    str | None, typer.Option(help="LLaMA: a folder of prompts.", show_default="the model's, else the program's")
]
FourBit = Annotated[bool, typer.Option("--four-bit", help="LLaMA: weights in four bits (CUDA, extra qlora).")]
Unconstrained = Annotated[
    bool, typer.Option("--unconstrained", help="LLaMA: let it write other things than the text and tags.")
]
Terminology = Annotated[
    str | None,
    typer.Option(
        help="Names and codes: a folder of Athena's files, a CSV (name, code, system, type), or 'none'.",
        show_default="ICD-10-CM and DrugBank",
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Leave out what the model is less sure of (README).", show_default="0: nothing"),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads.", show_default="all")]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda or mps; openvino: the processor in int8, by the extra of that name.",
        show_default="the best of torch's",
    ),
]
Mappings = Annotated[
    Path | None, typer.Option(help="A profile (us-core), a TOML file of overrides, or a folder of mapping files.")
]
ReplaceVersions = Annotated[
    bool,
    typer.Option("--replace", help="FHIR server: remove what an earlier model wrote for the same notes."),
]
ServerIds = Annotated[
    bool, typer.Option("--server-ids", help="FHIR server: it gives the ids, ours become identifiers.")
]
Parallel = Annotated[
    int | None,
    typer.Option(min=1, help="FHIR server: notes that a worker sends or fetches at a time.", show_default="4"),
]
Query = Annotated[
    list[str] | None,
    typer.Option(
        help="FHIR source: a search, such as 'type=18842-5&date=ge2024' or 'DiagnosticReport?status=final'; "
        "may be repeated.",
        show_default="all DocumentReferences",
    ),
]
Export = Annotated[
    str | None, typer.Option(help="FHIR source: read by a Bulk Data export of 'system', 'Patient' or 'Group/ID'.")
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(help="FHIR source: another server (https://HOST) that attachments may be on; gets no credentials."),
]
OmopCreate = Annotated[bool, typer.Option("--omop-create", help="OMOP: make the tables that are missing.")]
OmopNotes = Annotated[bool, typer.Option("--omop-notes", help="OMOP: write NOTE rows too.")]
OmopClinical = Annotated[
    bool, typer.Option("--omop-clinical", help="OMOP: write conditions, drugs, measurements and procedures too.")
]
OmopIds = Annotated[
    Path | None,
    typer.Option(help="OMOP: a CSV (note, note_id, person_id) for notes whose ids are no numbers."),
]
