"""Every mutant that the rules make of a source: tokens and statements are changed, never what they mean."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from tokenize import TokenInfo

# Operator, then the rule's name and what stands there instead.
OPERATORS = {
    "<": ("boundary", "<="), "<=": ("boundary", "<"), ">": ("boundary", ">="), ">=": ("boundary", ">"),
    "==": ("equality", "!="), "!=": ("equality", "=="),
    "+": ("arithmetic", "-"), "-": ("arithmetic", "+"), "*": ("arithmetic", "+"), "**": ("arithmetic", "*"),
    "//": ("arithmetic", "*"), "%": ("arithmetic", "//"),
    "+=": ("arithmetic", "-="), "-=": ("arithmetic", "+="),
    "<<": ("shift", ">>"), ">>": ("shift", "<<"),
    "&": ("bits", "|"), "|": ("bits", "&"), "^": ("bits", "|"), "~": ("bits", ""),
    "|=": ("bits", "&="), "&=": ("bits", "|="), "^=": ("bits", "|="),
}  # fmt: skip
WORDS = {
    "and": ("logic", "or"), "or": ("logic", "and"), "not": ("logic", ""),
    "True": ("value", "False"), "False": ("value", "True"),
    "min": ("extreme", "max"), "max": ("extreme", "min"),
    "break": ("loop", "continue"), "continue": ("loop", "break"),
}  # fmt: skip
REMOVED = {"assert": "no assert", "raise": "no raise", "log": "no log"}
BRANCHES = ("if", "elif")
ASSIGNMENTS = ("=", "+=", "-=", "*=", "//=", "%=", "|=", "&=", "^=", "<<=", ">>=")
KEYWORDS = (*BRANCHES, "else", "for", "return", "pass", "def", "extcall", "staticcall", *REMOVED, *WORDS)
TYPE = re.compile(r"u?int\d+|bytes\d+|address|bool|Bytes|String|DynArray")
LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


@dataclass(frozen=True)
class Mutant:
    """One change of one source: the text from `start` to `end` is replaced."""

    path: str  # below contracts/
    function: str  # empty outside of functions
    rule: str
    line: int
    start: int
    end: int
    replacement: str
    before: str  # the line, or the statement that is removed
    after: str

    @property
    def name(self) -> str:
        """What tells it from all others of the same sources."""
        return f"{self.path}:{self.line}:{self.start} {self.rule}: {self.after}"

    def applied(self, text: str) -> str:
        """Return the source with the change."""
        return text[: self.start] + self.replacement + text[self.end :]


@dataclass(frozen=True)
class Change:
    """From one token to another, and what stands there instead."""

    rule: str
    first: TokenInfo
    last: TokenInfo
    replacement: str


@dataclass(frozen=True)
class Statement:
    """The tokens of a logical line."""

    function: str
    tokens: tuple[TokenInfo, ...]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return tuple(token.string for token in self.tokens)

    @property
    def is_constant(self) -> bool:
        return not self.function and self.texts[1:2] == (":",) and "constant" in self.texts[2:5]

    @property
    def is_declaration(self) -> bool:
        return self.tokens[0].type == tokenize.NAME and self.texts[1:2] == (":",) and len(self.texts) > 2

    @cached_property
    def assignment(self) -> int | None:
        """The place of the sign that assigns, outside of all brackets."""
        depth = 0
        for place, text in enumerate(self.texts):
            depth += (text in "([{") - (text in ")]}")
            if depth == 0 and text in ASSIGNMENTS:
                return place
        return None

    @cached_property
    def expression(self) -> int:
        """The place behind names and types, from which tokens are changed."""
        if self.texts[0] == "for":
            return self.texts.index("in") if "in" in self.texts else len(self.texts)
        if self.is_declaration:
            return len(self.texts) if self.assignment is None else self.assignment
        return 0


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of functions and the constants of a source."""
    function, tokens = "", []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in LAYOUT:
            continue
        if token.type != tokenize.NEWLINE:
            tokens.append(token)
            continue
        is_outside = tokens[0].start[1] == 0
        if is_outside:
            function = tokens[1].string if tokens[0].string == "def" else ""
        statement = Statement("" if is_outside else function, tuple(tokens))
        tokens = []
        if statement.function or statement.is_constant:
            yield statement


@cache
def constants(text: str) -> dict[str, str]:
    """Return the constants of a source in order, each with its type."""
    return {
        statement.texts[0]: "".join(statement.texts[2 : statement.assignment])
        for statement in statements(text)
        if statement.is_constant
    }


def mutants(path: str, sources: Mapping[str, str]) -> Iterator[Mutant]:
    """Yield every mutant of one source; `sources` has the texts of all, by their path below contracts/."""
    text = sources[path]
    lines = text.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    named = {name.removesuffix(".vy").split("/")[-1]: constants(content) for name, content in sources.items()}
    own = constants(text)
    for statement in statements(text):
        for change in changes(statement, own, named):
            row = change.first.start[0]
            start = offsets[row - 1] + change.first.start[1]
            end = offsets[change.last.end[0] - 1] + change.last.end[1]
            left, right = text[offsets[row - 1] : start], text[end : offsets[change.last.end[0]]]
            before = " ".join((left + text[start:end] + right).split())
            after = " ".join((left + change.replacement + right).split())
            yield Mutant(
                path, statement.function, change.rule, row, start, end, change.replacement, before, after
            )


def changes(
    statement: Statement, own: Mapping[str, str], named: Mapping[str, Mapping[str, str]]
) -> Iterator[Change]:
    """Yield all changes of one statement."""
    if statement.tokens[0].type == tokenize.STRING:
        return  # a docstring
    if statement.function:
        yield from _whole(statement)
    for place in range(statement.expression, len(statement.tokens)):
        yield from _token(statement, place)
        yield from _constant(statement, place, own, named)


def _whole(statement: Statement) -> Iterator[Change]:
    """The statement left out, or its condition negated."""
    first, last = statement.tokens[0], statement.tokens[-1]
    if first.string in BRANCHES and last.string == ":":
        condition = statement.tokens[1:-1]
        text = _text(condition)
        yield Change("condition", condition[0], condition[-1], f"not ({text})")
    elif first.string in REMOVED:
        yield Change(REMOVED[first.string], first, last, "pass")
    elif statement.is_declaration:
        return
    elif statement.assignment is not None:
        is_local = statement.texts[1] != "."
        yield Change("no assignment" if is_local else "no store", first, last, "pass")
    elif (first.string == "extcall" or first.string not in KEYWORDS) and last.string == ")":
        yield Change("no call", first, last, "pass")


def _token(statement: Statement, place: int) -> Iterator[Change]:
    """A sign, word or number replaced by another."""
    token, texts = statement.tokens[place], statement.texts
    previous = texts[place - 1] if place else ""
    if token.type == tokenize.OP and token.string in OPERATORS:
        is_sign = token.string in "+-" and not _ends_operand(statement.tokens[place - 1])
        if not is_sign:
            yield Change(OPERATORS[token.string][0], token, token, OPERATORS[token.string][1])
    elif token.type == tokenize.NAME and token.string in WORDS and previous != ".":
        is_call = texts[place + 1 : place + 2] == ("(",)
        if token.string not in ("min", "max") or is_call:
            yield Change(WORDS[token.string][0], token, token, WORDS[token.string][1])
    elif token.type == tokenize.NUMBER and not _is_in_type(texts, place):
        number = int(token.string, 0)
        yield Change("number", token, token, str(number + 1))
        if number:
            yield Change("number", token, token, str(number - 1))


def _constant(
    statement: Statement, place: int, own: Mapping[str, str], named: Mapping[str, Mapping[str, str]]
) -> Iterator[Change]:
    """A constant replaced by the next one of its module that has the same type."""
    token, texts = statement.tokens[place], statement.texts
    if token.type != tokenize.NAME:
        return
    table = own
    if place and texts[place - 1] == ".":
        table = named.get(texts[place - 2], {}) if place > 1 else {}
    if token.string in table and not _is_in_type(texts, place):
        names = [name for name, type_ in table.items() if type_ == table[token.string]]
        other = names[(names.index(token.string) + 1) % len(names)]
        if other != token.string:
            yield Change("constant", token, token, other)


def _is_in_type(texts: Sequence[str], place: int) -> bool:
    """Return whether a number or constant is the length in a type, as in `DynArray[uint256, 32]`."""
    depth = 0
    for left, text in reversed(list(pairwise(texts[: place + 1]))):
        depth += (text in ("]", ")")) - (text in ("[", "("))
        if depth < 0:
            return text == "[" and TYPE.fullmatch(left) is not None
    return False


def _ends_operand(token: TokenInfo) -> bool:
    """Return whether a value ends here, so that a minus behind it subtracts."""
    if token.type in (tokenize.NUMBER, tokenize.STRING):
        return True
    return token.string in (")", "]") or (token.type == tokenize.NAME and token.string not in KEYWORDS)


def _text(tokens: Sequence[TokenInfo]) -> str:
    """Return the text of tokens as it stood, with their line breaks."""
    rows: list[str] = []
    row, column = tokens[0].start
    for token in tokens:
        if token.start[0] != row:
            rows.append("\n" * (token.start[0] - row) + " " * token.start[1])
        else:
            rows.append(" " * (token.start[1] - column))
        rows.append(token.string)
        row, column = token.end
    return "".join(rows)
