"""Synthetic clinical notes and tables of them, for tests and measurements; no text of a patient or corpus is in them.

    python tests/benchmarks/synthetic.py mimic-iii --rows 20000 -o NOTEEVENTS.csv.gz
    python tests/benchmarks/synthetic.py mimic-iv --rows 20000 -o discharge.csv.gz
    python tests/benchmarks/synthetic.py document-reference --rows 20000 -o DocumentReference.ndjson.gz

prints the true counts as JSON. The same seed gives the same bytes. The tables hold what real ones hold and readers
trip over: line ends and doubled quotes inside quoted text, some DOS line ends, rows marked as errors, missing times.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Specialty:
    """What one specialty's notes speak of; `{}` in a sentence is a number or a word that the writer draws."""

    service: str
    complaints: tuple[str, ...]
    problems: tuple[str, ...]
    history: tuple[str, ...]
    denied: tuple[str, ...]
    exam: tuple[str, ...]
    imaging: tuple[str, ...]
    course: tuple[str, ...]


SPECIALTIES = (
    Specialty(
        "Cardiology",
        ("chest pressure on exertion", "worsening shortness of breath", "palpitations", "leg swelling"),
        (
            "acute on chronic systolic heart failure",
            "atrial fibrillation with rapid rates",
            "NSTEMI",
            "aortic stenosis",
        ),
        (
            "coronary artery disease s/p two stents",
            "hypertension",
            "hyperlipidemia",
            "type 2 diabetes mellitus",
            "gout",
        ),
        ("chest pain", "syncope", "orthopnea", "palpitations", "fever"),
        ("JVP at {n} cm, irregularly irregular, no murmur", "Bibasilar crackles, 2+ pitting edema to the knees"),
        (
            "TTE: LVEF {p}%, mild mitral regurgitation, no pericardial effusion.",
            "CXR: cardiomegaly with mild vascular congestion, no focal consolidation.",
        ),
        (
            "He was diuresed with IV furosemide {d} mg BID with a net loss of {n} liters and {w} in dyspnea.",
            "Telemetry showed rates in the {h}s; metoprolol was raised and no further runs of tachycardia were seen.",
            "Troponin peaked at 0.{p} without ST changes, so catheterization was deferred.",
        ),
    ),
    Specialty(
        "Pulmonary",
        ("productive cough and fever", "wheezing since this morning", "pleuritic chest pain", "hemoptysis"),
        ("community acquired pneumonia", "COPD exacerbation", "pulmonary embolism", "right pleural effusion"),
        ("severe COPD on home oxygen", "obstructive sleep apnea", "former smoker", "osteoporosis", "GERD"),
        ("night sweats", "weight loss", "hemoptysis", "leg pain", "sick contacts"),
        ("Diffuse expiratory wheezes, speaking in short sentences", "Dullness and rales at the right base"),
        (
            "CT chest: {n} mm nodule in the left upper lobe, no filling defect to suggest embolism.",
            "CXR: right lower lobe opacity, small effusion, possibly atelectasis.",
        ),
        (
            "She was started on ceftriaxone 1 g daily and azithromycin 500 mg daily for presumed pneumonia.",
            "Oxygen was weaned from {n} L to room air; saturations stayed above {o}%.",
            "Prednisone {d} mg was given for {n} days and nebulizers were spaced out.",
        ),
    ),
    Specialty(
        "Gastroenterology",
        ("black stools", "epigastric pain and nausea", "jaundice", "abdominal distension"),
        ("upper GI bleed", "acute pancreatitis", "decompensated cirrhosis", "choledocholithiasis"),
        ("peptic ulcer disease", "hepatitis C, never treated", "alcohol use disorder", "iron deficiency anemia"),
        ("hematemesis", "melena", "dysphagia", "diarrhea", "pruritus"),
        ("Soft, tender in the epigastrium without guarding or rebound", "Shifting dullness, spider angiomata, icteric"),
        (
            "RUQ ultrasound: gallstones without wall thickening; CBD {n} mm.",
            "CT abdomen: peripancreatic stranding, no necrosis or collection.",
        ),
        (
            "EGD showed a clean-based ulcer of {n} mm; pantoprazole 40 mg IV BID was changed to oral.",
            "Hematocrit was stable at {p} after two units of packed red cells.",
            "Lipase fell to {h} and the diet was advanced without return of pain.",
        ),
    ),
    Specialty(
        "Neurology",
        ("right arm weakness", "first seizure", "the worst headache of her life", "unsteady gait"),
        ("left MCA stroke", "generalized tonic-clonic seizure", "migraine with aura", "Parkinson's disease"),
        ("prior TIA", "hypertension", "epilepsy", "carotid stenosis", "depression"),
        ("vision changes", "neck stiffness", "vertigo", "incontinence", "trauma"),
        (
            "Right pronator drift, strength 4/5 in the right arm, toes down",
            "Alert, oriented x3, cranial nerves II-XII intact",
        ),
        (
            "MRI brain: restricted diffusion in the left insula, no hemorrhage.",
            "CT head without contrast: no acute intracranial process.",
        ),
        (
            "Levetiracetam {d} mg BID was loaded and no further seizures occurred.",
            "Aspirin 81 mg and atorvastatin 80 mg were started; NIHSS went from {n} to 1.",
            "EEG showed left temporal slowing without epileptiform discharges.",
        ),
    ),
    Specialty(
        "Nephrology",
        ("decreased urine output", "fatigue and itching", "an abnormal laboratory value", "flank pain"),
        ("acute kidney injury", "end stage renal disease", "hyperkalemia", "nephrolithiasis"),
        ("chronic kidney disease stage 3", "renal transplant in the past", "hypertension", "diabetic nephropathy"),
        ("dysuria", "hematuria", "foamy urine", "NSAID use", "vomiting"),
        ("No CVA tenderness, trace edema, fistula with good thrill", "Dry mucous membranes, no asterixis, no rub"),
        (
            "Renal ultrasound: kidneys of {n} cm, no hydronephrosis.",
            "CT without contrast: {n} mm stone at the left ureterovesical junction.",
        ),
        (
            "Creatinine peaked at {n}.{n} mg/dL and fell with fluids; lisinopril was held.",
            "Potassium of 6.{n} was treated with calcium gluconate, insulin and dextrose.",
            "Hemodialysis was done three times with removal of {n} L and was well tolerated.",
        ),
    ),
    Specialty(
        "Orthopaedics",
        ("hip pain after a fall", "knee pain and swelling", "low back pain", "wrist deformity"),
        ("left femoral neck fracture", "osteoarthritis of the right knee", "lumbar stenosis", "septic arthritis"),
        ("osteoporosis", "rheumatoid arthritis", "obesity", "deep vein thrombosis", "anxiety"),
        ("loss of consciousness", "numbness", "bowel or bladder changes", "chest pain", "calf pain"),
        ("Left leg shortened and externally rotated, distal pulses 2+", "Wound clean, dry and intact, no erythema"),
        (
            "X-ray left hip: displaced femoral neck fracture, no dislocation.",
            "MRI lumbar spine: moderate stenosis at L4-L5 with a {n} mm disc bulge.",
        ),
        (
            "She underwent hemiarthroplasty on hospital day 2; estimated blood loss was {h} mL.",
            "Pain was controlled with oxycodone 5 mg every 4 hours as needed and acetaminophen 1 g TID.",
            "Enoxaparin {d} mg SC daily was given for prophylaxis; physical therapy saw the patient daily.",
        ),
    ),
    Specialty(
        "Oncology",
        ("fever after chemotherapy", "a new breast mass", "back pain at night", "mouth sores"),
        ("febrile neutropenia", "metastatic colon cancer", "diffuse large B-cell lymphoma", "mucositis"),
        ("breast cancer s/p lumpectomy", "hypothyroidism", "anemia of chronic disease", "port placement"),
        ("chills", "cough", "rash", "bleeding", "headache"),
        ("Port site without erythema, no palpable adenopathy", "Pale, oral ulcers, abdomen benign"),
        (
            "PET-CT: uptake in mediastinal nodes up to {n} mm, concerning for recurrence.",
            "CT torso: stable hepatic lesions, no new disease.",
        ),
        (
            "Cefepime 2 g every 8 hours was given until the ANC was above {h}; cultures stayed negative.",
            "Cycle {n} of chemotherapy was delayed because of thrombocytopenia.",
            "Ondansetron 8 mg TID as needed gave {w} in nausea.",
        ),
    ),
    Specialty(
        "Psychiatry",
        ("low mood and poor sleep", "hearing voices", "anxiety attacks", "agitation"),
        (
            "major depressive disorder, recurrent",
            "bipolar disorder",
            "generalized anxiety disorder",
            "alcohol withdrawal",
        ),
        ("prior suicide attempt", "PTSD", "migraine", "opioid use disorder on buprenorphine", "asthma"),
        ("suicidal ideation", "hallucinations", "mania", "paranoia", "homicidal ideation"),
        (
            "Speech slow and soft, affect constricted, thought process linear",
            "Restless, tremulous, oriented to place only",
        ),
        ("CT head: no acute abnormality.", "EKG: sinus rhythm, QTc {h} ms."),
        (
            "Sertraline was raised to {d} mg daily; sleep improved with trazodone 50 mg at bedtime.",
            "CIWA scores fell from {n} to 2 on lorazepam, with no seizures or delirium.",
            "He took part in groups and contracted for safety before discharge.",
        ),
    ),
)

DRUGS = (
    ("Lisinopril", ("5", "10", "20"), "mg", "PO", "daily"),
    ("Metoprolol Tartrate", ("12.5", "25", "50"), "mg", "PO", "BID"),
    ("Furosemide", ("20", "40", "80"), "mg", "PO", "daily"),
    ("Atorvastatin", ("20", "40", "80"), "mg", "PO", "QHS"),
    ("Metformin", ("500", "850", "1000"), "mg", "PO", "twice a day"),
    ("Insulin Glargine", ("10", "18", "24"), "units", "SC", "at bedtime"),
    ("Albuterol", ("90",), "mcg", "INH", "2 puffs every 4-6 hours as needed for wheezing"),
    ("Levothyroxine", ("50", "75", "112"), "µg", "PO", "every morning"),
    ("Warfarin", ("2.5", "5"), "mg", "PO", "daily at 4 PM"),
    ("Acetaminophen", ("325", "650"), "mg", "PO", "Q6H PRN pain"),
    ("Omeprazole", ("20", "40"), "mg", "PO", "daily before breakfast"),
    ("Gabapentin", ("100", "300"), "mg", "PO", "TID"),
    ("Vancomycin", ("750", "1250"), "mg", "IV", "Q12H"),
    ("Prednisone", ("10", "40"), "mg", "PO", "daily x 5 days"),
    ("Aspirin", ("81", "325"), "mg", "PO", "daily"),
    ("Sertraline", ("25", "50", "100"), "mg", "PO", "daily"),
)

LABS = (
    ("WBC", 3.0, 18.0, "K/uL", "4.0-11.0"),
    ("Hgb", 6.5, 16.5, "g/dL", "12.0-16.0"),
    ("Plt", 45, 420, "K/uL", "150-400"),
    ("Na", 124, 149, "mEq/L", "133-145"),
    ("K", 2.8, 6.4, "mEq/L", "3.3-5.1"),
    ("Creat", 0.5, 6.1, "mg/dL", "0.4-1.1"),
    ("Glucose", 58, 412, "mg/dL", "70-100"),
    ("Lactate", 0.6, 5.2, "mmol/L", "0.5-2.0"),
    ("INR", 0.9, 4.4, "", "0.9-1.1"),
    ("Troponin T", 0.01, 0.9, "ng/mL", "<0.01"),
    ("HbA1c", 5.0, 12.5, "%", "4.0-6.0"),
)

RELATIVES = ("Mother", "Father", "Brother", "Sister", "Maternal grandmother", "Paternal uncle")
INHERITED = (
    "died of an MI at {p}",
    "has type 2 diabetes",
    "with breast cancer at age {p}",
    "is healthy",
    "had a stroke",
    "with colon cancer",
)
HABITS = (
    "Lives with spouse; retired teacher. Quit smoking {n} years ago ({p} pack-years). Denies illicit drugs.",
    "Lives alone on the 2nd floor. Drinks {n} beers per week. Never smoked.",
    'Works nights in a bakery. Smokes "about half a pack" daily. Last drink was yesterday.',
)
ALLERGIES = (
    "NKDA",
    "Penicillin (rash)",
    "Sulfa - hives; codeine - nausea",
    'Patient reports "all antibiotics"; reaction unknown',
)
ASIDES = (
    'Patient states: "I feel better, but not 100%".',
    "Temp 38.{n} °C overnight → cultures drawn ×2, no growth to date.",
    "Likely viral, although a bacterial source can not be excluded.",
    "If fever returns, please call the clinic; otherwise follow up in {n} weeks.",
    "BP goal ≤ 130/80; currently {h}/{p}, ~½ tablet held this morning.",
    "Family meeting held with son & daughter – naïve to hospice; café visit planned.",
    "There is no evidence of DVT on duplex of the lower extremities.",
    "Monitor I/O's, daily weights; replete K > 4.0 & Mg > 2.0.",
    "The rash on the left forearm has resolved; mild bruising persists.",
    "Physical exam unchanged\tfrom prior; pain 3/10, well controlled.",
)
WORDS = ("marked improvement", "some improvement", "little change", "partial relief", "resolution")


def note_text(seed: int, characters: int = 3500) -> str:
    r"""A note of about `characters` Unicode code points (within a tenth from 2,000 on), with `\n` line ends.

    Notes of different seeds differ; the same seed and length give the same note.
    """
    rng = random.Random(f"{seed}/{characters}")
    of = rng.choice(SPECIALTIES)
    age, sex = rng.randint(19, 94), rng.choice(("man", "woman"))
    complaint, problem = rng.choice(of.complaints), rng.choice(of.problems)
    past = rng.sample(of.history, 3)
    no = rng.sample(of.denied, 3)
    sections = [
        f"Service: {of.service.upper()}\nMRN: {rng.randint(10**6, 10**7)}   Bed: {rng.randint(1, 12)}-A",
        f"Chief Complaint:\n{complaint[0].upper()}{complaint[1:]}",
        f"History of Present Illness:\n{age} y/o {sex} with a history of {past[0]} and {past[1]} who presents with "
        f"{complaint} for {rng.randint(1, 14)} days, concerning for {problem}. Denies {no[0]}, {no[1]} or {no[2]}. "
        f"In the ED, vitals were {_vitals(rng)}.",
        "Past Medical History:\n" + "\n".join(f"{i}. {item}" for i, item in enumerate(past, 1)),
        f"Allergies: {rng.choice(ALLERGIES)}",
        "Medications on Admission:\n" + "\n".join(f"  - {_drug(rng)}" for _ in range(rng.randint(3, 6))),
        f"Family History:\n{_relative(rng)}. {_relative(rng)}. No family history of sudden death.",
        f"Social History: {_fill(rng, rng.choice(HABITS))}",
        f"Physical Exam:\nVS: {_vitals(rng)}\nGEN: NAD, {rng.choice(('well appearing', 'frail', 'tired'))}\n"
        f"EXAM: {_fill(rng, rng.choice(of.exam))}",
        "Pertinent Results:\n" + "\n".join(_lab(rng, lab) for lab in rng.sample(LABS, 5)),
        f"Imaging:\n{_fill(rng, rng.choice(of.imaging))}",
        f"Assessment:\n# {problem[0].upper()}{problem[1:]}: {_fill(rng, rng.choice(of.course))}",
    ]
    closing = [
        "Discharge Medications:\n" + "\n".join(f"{i}. {_drug(rng)}" for i in range(1, rng.randint(4, 8))),
        f"Discharge Condition: {rng.choice(('Stable', 'Good', 'Fair'))}. Follow up with Dr. "
        f"{rng.choice('ABCDEFGHKLM')}. in {rng.randint(1, 8)} weeks.",
    ]
    while len(sections) > 3 and sum(map(len, sections + closing)) > 0.85 * characters:
        sections.pop(rng.randrange(3, len(sections)))
    course = "Hospital Course:"
    target = characters - sum(len(part) + 2 for part in sections + closing)
    day = 1
    while len(course) < target - 120:
        course += f"\nDay {day}: {_event(rng, of)} {_fill(rng, rng.choice(ASIDES))}"
        day += 1
    return "\n\n".join([*sections, course, *closing]) + "\n"


def _event(rng: random.Random, of: Specialty) -> str:
    """A sentence of a day in hospital."""
    kind = rng.randrange(4)
    if kind == 0:
        return f"{rng.choice(('Started', 'Continued', 'Held', 'Stopped'))} {_drug(rng)}."
    if kind == 1:
        return f"Repeat {_lab(rng, rng.choice(LABS))}; no {rng.choice(of.denied)} overnight."
    if kind == 2:
        return f"Ongoing treatment of {rng.choice(of.problems)}; consult note reviewed, {rng.choice(of.history)} noted."
    return _fill(rng, rng.choice(of.course))


def _fill(rng: random.Random, sentence: str) -> str:
    draw: dict[str, Callable[[], str]] = {
        "{n}": lambda: str(rng.randint(2, 9)),
        "{p}": lambda: str(rng.randint(20, 65)),
        "{d}": lambda: str(rng.choice((20, 40, 60, 80, 500))),
        "{h}": lambda: str(rng.randint(90, 480)),
        "{o}": lambda: str(rng.randint(89, 97)),
        "{w}": lambda: rng.choice(WORDS),
    }
    for mark, value in draw.items():
        while mark in sentence:
            sentence = sentence.replace(mark, value(), 1)
    return sentence


def _vitals(rng: random.Random) -> str:
    return (
        f"T {rng.uniform(96.4, 102.9):.1f} HR {rng.randint(52, 134)} BP {rng.randint(88, 188)}/{rng.randint(44, 104)} "
        f"RR {rng.randint(12, 30)} SpO2 {rng.randint(86, 100)}% RA"
    )


def _drug(rng: random.Random) -> str:
    name, strengths, unit, route, frequency = rng.choice(DRUGS)
    return f"{name} {rng.choice(strengths)} {unit} {route} {frequency}"


def _lab(rng: random.Random, lab: tuple[str, float, float, str, str]) -> str:
    name, low, high, unit, reference = lab
    value = (
        str(rng.randint(low, high))
        if isinstance(low, int) and isinstance(high, int)
        else f"{rng.uniform(low, high):.2f}"
    )
    flag = rng.choice(("*", ""))
    return f"{name}-{value}{flag} {unit} (ref {reference})".replace("  ", " ")


def _relative(rng: random.Random) -> str:
    return f"{rng.choice(RELATIVES)} {_fill(rng, rng.choice(INHERITED))}"


# --- Tables -----------------------------------------------------------------------------------------------------------

MIMIC_III_COLUMNS = (
    "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT".split()  # noqa: SIM905
)
MIMIC_IV_COLUMNS = ["note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text"]
CATEGORIES = (  # spaces at the end stand in the real table too
    ("Discharge summary", "Report", False),
    ("Nursing", "Nursing Progress Note", True),
    ("Nursing/other", "Report", True),
    ("Physician ", "Physician Resident Progress Note", True),
    ("Physician ", "Physician Resident Admission Note", True),
    ("Radiology", "CHEST (PORTABLE AP)", True),
    ("Respiratory ", "Respiratory Care Shift Note", True),
    ("ECG", "Report", False),
    ("Echo", "Report", False),
    ("Case Management ", "Case Management Discharge Plan", True),
)


def csv_field(value: str | int | None) -> str:
    """Texts quoted with quotes doubled, numbers bare, None as nothing, as the published tables have it."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else '"' + value.replace('"', '""') + '"'


def mimic_iii_rows(rows: int, seed: int, characters: int) -> Iterator[tuple[list[str | int | None], bool]]:
    """Rows in the order of MIMIC_III_COLUMNS, and whether a reader should drop each (ISERROR = 1)."""
    for number in range(1, rows + 1):
        rng = random.Random(f"iii/{seed}/{number}")
        category, description, timed = rng.choice(CATEGORIES)
        date = f"{rng.randint(2101, 2199)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        time = f"{date} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00" if timed and rng.random() > 0.05 else None
        text = f"Admission Date:  [**{date}**]\n\n" + note_text(seed * 10**9 + number, characters)
        if rng.random() < 0.1:
            text = text.replace("\n", "\r\n")
        dropped = rng.random() < 0.01
        stay = rng.randint(100_000, 199_999) if rng.random() > 0.1 else None
        caregiver = rng.randint(14_000, 21_000) if timed else None
        row = [number, rng.randint(1, 99_999), stay, date, time, time, category, description, caregiver]
        yield [*row, 1 if dropped else None, text], dropped


def mimic_iv_rows(rows: int, seed: int, characters: int) -> Iterator[tuple[list[str | int | None], bool]]:
    """Rows in the order of MIMIC_IV_COLUMNS; none is to be dropped."""
    for number in range(1, rows + 1):
        rng = random.Random(f"iv/{seed}/{number}")
        subject, kind = 10_000_000 + rng.randint(0, 9_999_999), rng.choice(("DS", "DS", "DS", "AD"))
        time = f"{rng.randint(2110, 2199)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} 00:00:00"
        text = f" \nName:  ___   Unit No:  ___\n \n{note_text(seed * 10**9 + number, characters)}"
        if rng.random() < 0.1:
            text = text.replace("\n", "\r\n")
        stay = rng.randint(20_000_000, 29_999_999) if rng.random() > 0.1 else None
        yield [f"{subject}-{kind}-{number}", subject, stay, kind, number, time, time, text], False


def documents(rows: int, seed: int, characters: int) -> Iterator[tuple[dict[str, object], bool]]:
    """DocumentReferences (plain, HTML and RTF attachments), and whether a reader should drop each (superseded)."""
    for number in range(1, rows + 1):
        rng = random.Random(f"document/{seed}/{number}")
        text, kind = note_text(seed * 10**9 + number, characters), "text/plain; charset=utf-8"
        form = rng.random()
        if form < 0.05:
            escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br/>\n")
            text, kind = f"<html><body><p>{escaped}</p></body></html>", "text/html"
        elif form < 0.1:
            escaped = "".join(c if c < "\x80" else f"\\u{ord(c)}?" for c in text).replace("\n", "\\par\n")
            text, kind = f"{{\\rtf1\\ansi {escaped}}}", "application/rtf"
        dropped = rng.random() < 0.01
        yield (
            {
                "resourceType": "DocumentReference",
                "id": f"note-{number}",
                "status": "superseded" if dropped else "current",
                "type": {"coding": [{"system": "http://loinc.org", "code": "11506-3", "display": "Progress note"}]},
                "subject": {"reference": f"Patient/p{rng.randint(1, 5000)}"},
                "date": f"20{rng.randint(10, 25)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T09:30:00Z",
                "content": [{"attachment": {"contentType": kind, "data": base64.b64encode(text.encode()).decode()}}],
                "context": {"encounter": [{"reference": f"Encounter/e{number}"}]},
            },
            dropped,
        )


def table_lines(kind: str, rows: int, seed: int = 0, characters: int = 3500) -> Iterator[tuple[str, bool]]:
    """The file's rows as text, the header first; True for those that a reader should drop."""
    if kind == "document-reference":
        for document, dropped in documents(rows, seed, characters):
            yield json.dumps(document, ensure_ascii=False) + "\n", dropped
        return
    columns, make = {"mimic-iii": (MIMIC_III_COLUMNS, mimic_iii_rows), "mimic-iv": (MIMIC_IV_COLUMNS, mimic_iv_rows)}[
        kind
    ]
    yield ",".join(map(csv_field, columns)) + "\n", False
    for row, dropped in make(rows, seed, characters):
        yield ",".join(map(csv_field, row)) + "\n", dropped


def write(kind: str, path: Path, rows: int, seed: int = 0, characters: int = 3500) -> dict[str, int]:
    """Writes the table, gzip where the name ends in .gz; returns rows, dropped and notes (rows less dropped)."""
    dropped = 0
    with path.open("wb") as raw:
        packed = (
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)
            if path.suffix == ".gz"
            else raw
        )
        with io.TextIOWrapper(packed, encoding="utf-8", newline="", write_through=False) as out:  # type: ignore[type-var]
            for line, drop in table_lines(kind, rows, seed, characters):
                out.write(line)
                dropped += drop
    return {"rows": rows, "dropped": dropped, "notes": rows - dropped}


def main() -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=("mimic-iii", "mimic-iv", "document-reference"))
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--characters", type=int, default=3500, help="length of a note, about")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    print(json.dumps(write(options.kind, options.output, options.rows, options.seed, options.characters)))


if __name__ == "__main__":
    main()
