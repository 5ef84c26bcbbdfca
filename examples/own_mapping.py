"""A rule of the mappings changed: what a note states without doubt is unconfirmed here, as nobody has looked at it yet.

python examples/own_mapping.py
"""

import tempfile
from pathlib import Path

import kiwi_fhir

NOTE = "Assessment: pneumonia."
OVERRIDES = """
[fhir.condition]
present = "unconfirmed"
"""


def verification(mappings: Path | None) -> str:
    """The verificationStatus of the note's Condition."""
    bundle = kiwi_fhir.load(mappings=mappings)(NOTE).bundle
    (condition,) = (e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Condition")
    return str(condition["verificationStatus"]["coding"][0]["code"])


with tempfile.TemporaryDirectory() as folder:
    overrides = Path(folder, "ours.toml")
    overrides.write_text(OVERRIDES)
    print(f"packaged: {verification(None)}")
    print(f"ours: {verification(overrides)}")
