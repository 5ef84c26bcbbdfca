from __future__ import annotations

import codecs

import pytest

from kiwi_fhir.errors import NoteError
from kiwi_fhir.notes.decode import from_base64, parse_content_type, to_text

TEXT = "Größe 3 µg, 37 °C\r\nline\x00 two\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/plain", ("text/plain", None)),
        ("Text/HTML; Charset=ISO-8859-1", ("text/html", "ISO-8859-1")),
        ('text/plain; format=flowed; charset="utf-8"', ("text/plain", "utf-8")),
        ("text/plain;charset=", ("text/plain", None)),
        (None, ("text/plain", None)),
        ("", ("text/plain", None)),
    ],
)
def test_content_types(value: str | None, expected: tuple[str, str | None]) -> None:
    assert parse_content_type(value) == expected


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "utf-16", "utf-16-le", "utf-32", "iso-8859-1", "windows-1252"])
def test_plain_text_is_decoded_and_left_alone(charset: str) -> None:
    assert to_text(TEXT.encode(charset), f"text/plain; charset={charset}") == TEXT


@pytest.mark.parametrize(
    ("mark", "charset"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_tells_the_charset_and_is_left_out(mark: bytes, charset: str) -> None:
    assert to_text(mark + TEXT.encode(charset), "text/plain") == TEXT
    assert to_text(mark + TEXT.encode(charset), f"text/plain; charset={charset}") == TEXT


def test_no_bytes_are_an_empty_text() -> None:
    for kind in ("text/plain", "text/html", "application/xhtml+xml"):
        assert to_text(b"", kind) == ""


@pytest.mark.parametrize(
    ("data", "content_type", "reason"),
    [
        (b"x", "application/pdf", "unsupported-content-type"),
        (b"x", "text/xml", "unsupported-content-type"),
        (b"x", "text/plain; charset=klingon", "unknown-charset"),
        (b"x", "text/plain; charset=rot13", "unknown-charset"),
        (b"x", "text/plain; charset=a\x00b", "unknown-charset"),
        (b"caf\xe9", "text/plain", "undecodable-text"),
        (b"caf\xe9", "text/plain; charset=us-ascii", "undecodable-text"),
        (b"\\ud800", "text/plain; charset=unicode-escape", "undecodable-text"),
        (b"caf\xe9", "text/html", "undecodable-text"),
        (b"not rtf", "text/rtf", "unreadable-rtf"),
        (b"", "application/rtf", "unreadable-rtf"),
        (rb"{\rtf1 cut \b off", "text/rtf", "unreadable-rtf"),
        (rb"{\rtf1\ansi\ansicpg1252 bad \'81 byte}", "text/rtf", "unreadable-rtf"),
        (b"<div>" * 5000 + b"x", "text/html", "unreadable-html"),
    ],
)
def test_what_can_not_be_read_has_a_name(data: bytes, content_type: str, reason: str) -> None:
    with pytest.raises(NoteError) as caught:
        to_text(data, content_type)
    assert caught.value.reason == reason
    assert str(caught.value).endswith(".")


def test_base64_allows_white_space_only() -> None:
    assert from_base64(" aGVs\r\n bG8=\n") == b"hello"
    assert from_base64("") == b""
    for bad in ("aGVsbG8", "aGVs*G8=", "aGVsbG8=aGVsbG8=", "aGVsbG8-", "é", 5, None, ["x"]):
        with pytest.raises(NoteError) as caught:
            from_base64(bad)
        assert caught.value.reason == "invalid-base64"


@pytest.mark.parametrize("kind", ["text/html", "application/xhtml+xml"])
def test_html_becomes_text(kind: str) -> None:
    html = (
        '<?xml version="1.0" encoding="UTF-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title>'
        "<style>p {color: red}</style></head><body><h1>Plan</h1><p>Give 5&nbsp;mg &amp; wait &lt; 1 h.</p>"
        "<ul><li>one</li><li>zwölf</li></ul><!-- no --></body></html>"
    )
    assert to_text(html.encode(), kind) == "Plan\n\nGive 5 mg & wait < 1 h.\n\n  * one\n  * zwölf"


@pytest.mark.parametrize(
    ("start", "charset"),
    [
        ('<meta charset="iso-8859-1">', "iso-8859-1"),
        ("<META http-equiv='Content-Type' content='text/html; charset=windows-1251'>", "windows-1251"),
        ('<?xml version="1.0" encoding="iso-8859-2"?><p>', "iso-8859-2"),
        ("<meta charset=utf-16>", "utf-8"),
        ("", "utf-8"),
    ],
)
def test_html_states_its_own_charset(start: str, charset: str) -> None:
    word = "Привет" if charset == "windows-1251" else "naïve" if charset == "iso-8859-1" else "wäre"
    assert to_text(f"{start}<p>{word}</p>".encode(charset), "text/html").strip() == word


def test_the_content_type_goes_before_what_html_states() -> None:
    data = '<meta charset="utf-8"><p>naïve</p>'.encode("latin-1")
    assert to_text(data, "text/html; charset=latin-1").strip() == "naïve"


def test_html_loses_nothing_when_deep_or_long() -> None:
    assert to_text(b"<div>" * 300 + b"deep" + b"</div>" * 300, "text/html").strip() == "deep"
    long = to_text(b"<p>" + b"word " * 2_500_000 + b"</p><p>END</p>", "text/html")
    assert (long.count("word"), long.strip()[-3:]) == (2_500_000, "END")


@pytest.mark.parametrize("html", ["<!-- only a comment -->", "  \n ", "<p></p>"])
def test_html_without_text_is_empty(html: str) -> None:
    assert to_text(html.encode(), "text/html").strip() == ""


def test_rtf_becomes_text() -> None:
    rtf = (
        r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}}{\info{\author nobody}}"
        r"\b Plan\b0 : caf\'e9 \u233? \u-10179?\u-8704? \{5 mg\}\par"
        "\n"
        r"next\tab line}"
    )
    assert to_text(rtf.encode(), "text/rtf") == "Plan: café é 😀 {5 mg}\nnext\tline"


@pytest.mark.parametrize(
    "data",
    [
        "{\\rtf1 naïve}".encode(),
        "{\\rtf1 naïve}".encode("cp1252"),
        "{\\rtf1\\ansicpg850 naïve}".encode("cp850"),
        b" \r\n{\\rtf1 na\\u239?ve}\r\n\x00",
    ],
)
def test_rtf_with_bytes_beyond_ascii(data: bytes) -> None:
    assert to_text(data, "application/rtf") == "naïve"
