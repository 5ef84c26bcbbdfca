"""Ids: a UUID (version 5) of what a thing is and says, so that a rerun writes the same ids."""

from __future__ import annotations

import hashlib

# uuid5(NAMESPACE_URL, "urn:kiwi-fhir")
_NAMESPACE = bytes.fromhex("78747ee8b3c15a8fb2feba642018bcd3")


def uuid_of(*parts: str) -> str:
    """uuid5 of `parts` in the program's own namespace; no two lists of parts run together."""
    name = "\x1f".join(parts)
    # uuid.uuid5 does the same in five times the time
    digest = bytearray(hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
