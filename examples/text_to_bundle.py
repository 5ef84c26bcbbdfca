"""A text to a FHIR bundle, and what was found in it as a table.

python examples/text_to_bundle.py
"""

import json

import kiwi_fhir

NOTE = (
    "68-year-old woman with type 2 diabetes. She denies chest pain. Metformin 500 mg twice daily. Hemoglobin 9.8 g/dL."
)

kiwi = kiwi_fhir.load()
result = kiwi(NOTE)

for mention, fact in zip(result.mentions, result.facts, strict=True):
    print(f"{mention.label:9}  {fact.text:20}  {fact.assertion:8}  {fact.codings[0].code if fact.codings else '-'}")
for row in kiwi_fhir.to_frame([result]).select(["text", "value", "unit", "dosage"]).to_pylist():
    print(row)
print(json.dumps(result.bundle["entry"][0]["resource"]["code"], indent=2))
