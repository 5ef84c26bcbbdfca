"""The options that several commands share: those of the settings are made of what config.py declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from kiwi_fhir.config import GROUPS, Config, Setting, read_config

Source = Annotated[str, typer.Option(help="document-reference, mimic-iii, mimic-iv, omop, text or fhir.")]
Input = Annotated[list[str], typer.Option("--input", "-i", help="A file, a folder, a glob or a URL; may be repeated.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with the settings below (`kiwi-fhir config show`).")
]


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


_Command = TypeVar("_Command", bound=Callable[..., None])


def takes(*wanted: str) -> Callable[[_Command], _Command]:
    """Give a command the options of these groups (`model`) and settings (`mapping.mappings`), as `**options`."""

    def give(command: _Command) -> _Command:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [_option(group, one) for group, kind in GROUPS.items() for one in kind.declared() if asked(group, one)]
        command.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        command.__annotations__ |= {one.name: one.annotation for one in made}
        return command

    def asked(group: str, one: Setting) -> bool:
        return group in wanted or f"{group}.{one.name}" in wanted

    return give


def _option(group: str, one: Setting) -> inspect.Parameter:
    kind = list[str] if one.kind is tuple else one.kind
    option = typer.Option(
        f"--{one.name.replace('_', '-')}",
        help=one.about.help,
        min=one.about.at_least,
        max=one.about.at_most,
        show_default=one.about.shown or (one.kind is not bool and str(one.default)),
        rich_help_panel=rf"\[{group}] of the config file",
    )
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def config_of(options: dict[str, Any], path: Path | None = None) -> Config:
    """The config file's settings, and the options that were given in their place."""
    config = Config() if path is None else read_config(path)
    return config.with_options(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    )
