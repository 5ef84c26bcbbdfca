"""The bytes of an attachment as a note's text.

`text/plain` is decoded and otherwise left alone, DOS line ends, NUL and all. HTML, XHTML and RTF are converted, and
then the note's text is the converted text: offsets count in it, not in the markup.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re

from kiwi_fhir.errors import NoteError

PLAIN, HTML, XHTML, RTF = range(4)

#: The content types that are read, the most wanted format first.
FORMATS = {
    "text/plain": PLAIN,
    "text/html": HTML,
    "application/xhtml+xml": XHTML,
    "text/rtf": RTF,
    "application/rtf": RTF,
}

# Longer marks first: the one of UTF-32-LE starts with the one of UTF-16-LE.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PRESCAN = 1024  # bytes in which HTML looks for its charset (WHATWG, "prescan a byte stream")
_META_CHARSET = re.compile(rb"<meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"^\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"^\s*<\?xml\b[^>]*\?>", re.IGNORECASE)
_RTF_CODE_PAGE = re.compile(rb"\\ansicpg(\d+)")
_RTF_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)


def parse_content_type(value: str | None) -> tuple[str, str | None]:
    """`text/html; charset="UTF-8"` as (`text/html`, `UTF-8`); no content type at all is taken for `text/plain`."""
    kind, *parameters = (value or "text/plain").split(";")
    for parameter in parameters:
        name, _, setting = parameter.partition("=")
        if name.strip().lower() == "charset":
            return kind.strip().lower(), setting.strip().strip("\"'") or None
    return kind.strip().lower(), None


def format_of(content_type: str | None) -> int:
    """PLAIN, HTML, XHTML or RTF. Raises NoteError `unsupported-content-type`."""
    kind, _ = parse_content_type(content_type)
    if kind not in FORMATS:
        raise NoteError("unsupported-content-type", f"The content type {kind[:60]!r} can't be read as text.")
    return FORMATS[kind]


def from_base64(data: object) -> bytes:
    """The bytes of a base64Binary, in which FHIR allows white space. Raises NoteError `invalid-base64`."""
    if not isinstance(data, str):
        raise NoteError("invalid-base64", "The attachment's data is not a string of base64.")
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("invalid-base64", "The attachment's data is not base64.") from error


def to_text(data: bytes, content_type: str | None) -> str:
    """The note's text of an attachment with this content type (its charset parameter counts; UTF-8 without one).

    Raises NoteError `unsupported-content-type`, `unknown-charset`, `undecodable-text`, `unreadable-html` or
    `unreadable-rtf`.
    """
    form = format_of(content_type)
    _, stated = parse_content_type(content_type)
    charset = stated or _marked(data)
    if form == PLAIN:
        return _characters(data, charset or "utf-8")
    if form == RTF:
        return _rtf_to_text(_characters(data, charset or _rtf_charset(data)))
    return _html_to_text(_characters(data, charset or _html_charset(data)))


def _characters(data: bytes, charset: str) -> str:
    try:
        codecs.lookup(charset)
        text = data.decode(charset)
        text.encode("utf-8")  # some codecs let lone surrogates through, which no output can hold
    except UnicodeError as error:
        raise NoteError("undecodable-text", f"The bytes of the attachment are not {charset[:40]}.") from error
    except (LookupError, ValueError) as error:
        raise NoteError("unknown-charset", f"The charset {charset[:40]!r} is not known.") from error
    return text.removeprefix("\ufeff")


def _marked(data: bytes) -> str | None:
    return next((charset for mark, charset in _BYTE_ORDER_MARKS if data.startswith(mark)), None)


def _html_charset(data: bytes) -> str:
    found = _XML_ENCODING.search(data[:_PRESCAN]) or _META_CHARSET.search(data[:_PRESCAN])
    charset = found[1].decode("ascii", "replace") if found else "utf-8"
    # A UTF-16 document could not have been searched as ASCII, so that statement is wrong (WHATWG says so too).
    return "utf-8" if charset.lower().startswith("utf-16") else charset


def _rtf_charset(data: bytes) -> str:
    """RTF is ASCII by its own rules; writers that break them use UTF-8 or the document's code page."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        found = _RTF_CODE_PAGE.search(data)
        return f"cp{found[1].decode()}" if found else "cp1252"
    return "utf-8"


def _html_to_text(html: str) -> str:
    from inscriptis.html_engine import Inscriptis
    from lxml.etree import LxmlError, ParserError
    from lxml.html import HTMLParser, document_fromstring

    html = _XML_DECLARATION.sub("", html, count=1)  # lxml takes none in a string
    if not html.strip():
        return ""
    try:
        # inscriptis.get_text would do, but its parser drops what is nested deep or longer than 10 MB without a word.
        text: str = Inscriptis(document_fromstring(html, parser=HTMLParser(huge_tree=True))).get_text()
    except ParserError:  # nothing but comments
        return ""
    except RecursionError as error:
        raise NoteError("unreadable-html", "The HTML is nested too deep.") from error
    except (LxmlError, ValueError) as error:
        raise NoteError("unreadable-html", "The HTML can't be parsed.") from error
    return text


def _rtf_to_text(rtf: str) -> str:
    from striprtf.striprtf import rtf_to_text

    rtf = rtf.lstrip()
    if not rtf.startswith("{\\rtf"):
        raise NoteError("unreadable-rtf", "The attachment does not start as RTF does.")
    if "\\bin" not in rtf and not _is_closed(rtf):  # raw pictures may hold braces of their own
        raise NoteError("unreadable-rtf", "The RTF breaks off before its last group is closed.")
    try:
        text: str = rtf_to_text(rtf)
    except Exception as error:  # the library's parser raises what its input makes it raise
        raise NoteError("unreadable-rtf", f"The RTF can't be read ({type(error).__name__}).") from error
    # RTF writes characters beyond U+FFFF as two halves, which the library leaves apart.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_closed(rtf: str) -> bool:
    depth = 0
    for found in _RTF_BRACES.finditer(rtf):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0 and found[0] == "}":
            return True
    return False
