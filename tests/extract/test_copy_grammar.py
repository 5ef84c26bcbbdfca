"""The grammar that servers get: exactly the ways to mark a text."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.extract.generative.copy_grammar import copy_grammar
from kiwi_fhir.extract.generative.marking import AnswerRefused, Tags, Task
from kiwi_fhir.extract.generative.markup import mark, read

TAGS = Tags()
BRACKETS = Tags('[["{label}\\": ', "]]")
TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\w+)|(\|)|(::=)')
ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
PLAIN = {"n": "\n", "r": "\r", "t": "\t"}


def unescape(found):
    number = found[1] or found[2] or found[3]
    return chr(int(number, 16)) if number else PLAIN.get(found[4], found[4])


def parse(grammar):
    """Rules: name to alternatives, each a list of ("text", ...) and ("rule", ...)."""
    rules = {}
    for line in grammar.splitlines():
        name, _, body = line.partition(" ::= ")
        alternatives = [[]]
        for text, rule, bar, _ in TOKEN.findall(body):
            if bar:
                alternatives.append([])
            elif rule:
                alternatives[-1].append(("rule", rule))
            else:
                alternatives[-1].append(("text", ESCAPE.sub(unescape, text)))
        rules[name] = alternatives
    return rules


def language(rules, name="root"):
    """All strings of a rule."""
    for alternative in rules[name]:
        parts = [[value] if kind == "text" else list(language(rules, value)) for kind, value in alternative]
        yield from map("".join, itertools.product(*parts))


def accepts(rules, text):
    """Whether `text` is a whole string of the grammar."""
    ends = {}

    def match(name, at):
        if (name, at) not in ends:
            found = set()
            for alternative in rules[name]:
                places = {at}
                for kind, value in alternative:
                    if kind == "text":
                        places = {place + len(value) for place in places if text.startswith(value, place)}
                    else:
                        places = set().union(*(match(value, place) for place in places))
                found |= places
            ends[name, at] = found
        return ends[name, at]

    return len(text) in match("root", 0)


def markings(source, words, labels, tags):
    """The source marked in every way, spans running from the start of a word to the end of one."""
    places, at = [], 0
    for word in words:
        start = source.index(word, at)
        at = start + len(word)
        places.append((start, at))

    def spans(first):
        yield ()
        for begin in range(first, len(places)):
            for end in range(begin, len(places)):
                for label, rest in itertools.product(labels, spans(end + 1)):
                    yield ((label, places[begin][0], places[end][1]), *rest)

    return {mark(source, found, tags) for found in spans(0)}


@pytest.mark.parametrize("tags", [TAGS, BRACKETS])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("pain", ["pain"]),
        ("no pain", ["no", "pain"]),
        ("10mg  q.d", ["10", "mg", "q", ".", "d"]),
        ('a\r\n"b"\\', ["a", '"', "b", '"', "\\"]),
        ("e\u0301\u0308x -👩‍⚕️", ["e\u0301\u0308x", "-", "👩‍⚕️"]),
        ("x\u00a0\x0b\u200by", ["x", "\u200b", "y"]),
        ("<b>&", ["<", "b", ">", "&"]),
    ],
)
def test_the_grammar_is_exactly_the_ways_to_mark_a_text(source, words, tags):
    labels = ("drug", "test")
    found = list(language(parse(copy_grammar(source, labels, tags))))
    assert len(set(found)) == len(found)  # one way to write each
    assert set(found) == markings(source, words, labels, tags)


@given(st.lists(st.sampled_from(["pain", " ", "\n", "12", ".", "<", "e\u0301", "é", '"', "\\"]), min_size=1), st.data())
def test_what_the_grammar_accepts_is_read(pieces, data):
    source = "".join(pieces).strip() or "x"
    rules = parse(copy_grammar(source, ("drug", "test"), TAGS))
    text = "".join(random_string(rules, "root", data))
    assert accepts(rules, text)
    assert not accepts(rules, text + " ")
    assert not accepts(rules, text[:-1])
    assert not isinstance(read(text, Task("", source, ("drug", "test")), TAGS), AnswerRefused)


def random_string(rules, name, data):
    alternative = data.draw(st.sampled_from(rules[name]))
    for kind, value in alternative:
        if kind == "text":
            yield value
        else:
            yield from random_string(rules, value, data)


def test_a_grammar_grows_with_the_text():
    once, twice = (copy_grammar("word, " * count + "end", ("drug",), TAGS) for count in (50, 100))
    assert len(twice) < 2.2 * len(once)


SOURCE = 'No pain,\r\n10mg e\u0301 "x" \\ 👩‍⚕️ <b> & more ' * 10 + "end"


def xgrammar_says(grammar):
    xgrammar = pytest.importorskip("xgrammar", reason="not among the test tools: it brings a compiler for GPUs")
    vocabulary = ["</s>", *(chr(byte) for byte in range(128))]
    info = xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[0])
    compiled = xgrammar.GrammarCompiler(info).compile_grammar(grammar)

    def says(text):
        matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
        return matcher.accept_string(text) and matcher.is_terminated()

    return says


def llguidance_says(grammar):
    llguidance = pytest.importorskip("llguidance")
    tokenizer, compiled = llguidance.LLTokenizer("byte"), llguidance.grammar_from("gbnf", grammar)

    def says(text):
        matcher, tokens = llguidance.LLMatcher(tokenizer, compiled), tokenizer.tokenize_str(text)
        assert not matcher.get_error()
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    return says


@pytest.mark.parametrize("engine", [xgrammar_says, llguidance_says])
def test_the_engines_of_vllm_read_it(engine):
    says = engine(copy_grammar(SOURCE, ("drug", "test"), TAGS))
    assert says(SOURCE)
    assert says(mark(SOURCE, [("drug", 0, 7), ("test", 10, 12), ("drug", 12, 14), ("test", 15, 17)], TAGS))
    for wrong in (SOURCE[:-1], SOURCE.replace("pain", "pains"), mark(SOURCE, [("drug", 0, 9)], TAGS), "x" + SOURCE):
        assert not says(wrong)
