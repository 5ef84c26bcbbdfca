"""Where a note's resources come from: one Provenance with the program and model as agent and the note as source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kiwi_fhir.fhir.elements import Resource, Sheet
from kiwi_fhir.types import ModelId

_DEVICE = "device"
_PARTICIPANTS = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that read the notes, and what it ran in.

    `program` is the version of kiwi_fhir, `sha256` the hash of the model's weights. `engine` is what
    ran the model, where it changes results by more than rounding (OpenVINO in int8).
    """

    model: ModelId
    program: str
    sha256: str | None = None
    engine: str | None = None

    @property
    def tag(self) -> str:
        """`NAME@VERSION-HASH`, as a FHIR code."""
        return re.sub(r"\s+", "-", f"{self.model.name}@{self.model.release}")


def device(info: ModelInfo) -> Resource:
    """The agent. Contained, so that it loads with any server and needs no id of its own."""
    versions = [("program", info.program), ("model", info.model.release)]
    if info.sha256 is not None:
        versions.append(("model SHA-256", info.sha256))
    if info.engine is not None:
        versions.append(("engine", info.engine))
    return {
        "resourceType": "Device",
        "id": _DEVICE,
        "deviceName": [{"name": "kiwi_fhir", "type": "user-friendly-name"}],
        "modelNumber": info.model.name,
        "type": {"text": "clinical text extraction"},
        "version": [{"type": {"text": kind}, "value": value} for kind, value in versions],
    }


def provenance(sheet: Sheet, info: ModelInfo, recorded: str, resources: Sequence[Resource]) -> Resource:
    """The Provenance of all resources of a note; `recorded` is an instant that the caller fixes."""
    return {
        "resourceType": "Provenance",
        "id": sheet.id("Provenance", info.tag, info.program, recorded),
        "meta": sheet.meta,
        "contained": [device(info)],
        "target": [{"reference": f"{item['resourceType']}/{item['id']}"} for item in resources],
        "recorded": recorded,
        "agent": [
            {
                "type": {"coding": [{"system": _PARTICIPANTS, "code": "assembler", "display": "Assembler"}]},
                "who": {"reference": f"#{_DEVICE}", "display": f"kiwi_fhir, {info.tag}"},
            }
        ],
        "entity": [{"role": "source", "what": sheet.document}],
    }
