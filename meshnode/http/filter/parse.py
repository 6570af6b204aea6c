"""Filter expressions from text, and the ``Filter`` that a handler applies to its rows.

Grammar, loosest first; words are as written, white space is free between tokens::

    expression = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation = "not" negation | "(" expression ")" | question
    question = selector ( "==" | "!=" | "contains" | "not contains" | "matches" | "not matches" ) value
             | selector ( "is empty" | "is not empty" )
             | value ( "in" | "not in" ) selector
    selector = word { "." (word | digits) | "[" quoted "]" } | quoted JSON pointer, as in "/Service/Meta/x.y"
    value = quoted | number | selector, which is taken as text

Source: Consul's documentation, API features, filtering; RFC 6901 for the pointers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meshnode.base.suggest import did_you_mean
from meshnode.http.filter.evaluate import Evaluator
from meshnode.http.filter.fields import Fields, fault
from meshnode.http.filter.scan import FilterError, Token, TokenKind, scan
from meshnode.http.filter.tree import AllOf, AnyOf, Expression, Match, Not, Relation, Selector

__all__ = ["MAX_FILTER_DEPTH", "MAX_SELECTOR_PARTS", "Filter", "parse_expression", "parse_filter"]

#: How deep brackets and ``not`` may be nested.
MAX_FILTER_DEPTH: Final = 64
#: Names on the way to a value.
MAX_SELECTOR_PARTS: Final = 32

_RESERVED: Final = frozenset({"and", "or", "not", "in", "is", "contains", "matches", "empty"})
_OPERATORS: Final = '"==", "!=", "in", "contains", "matches", "is empty", or "not" before one of the words'


class Filter:
    """A filter that is ready. It has a budget for regular expressions, so make one for each request."""

    def __init__(self, expression: Expression) -> None:
        self.expression: Final = expression
        self._evaluator: Final = Evaluator(expression)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether ``row``, a JSON object, matches. Raises :class:`FilterError` for a question that its value can't
        be asked, and when the regular expressions have taken too long, over all rows."""
        return self._evaluator.matches(row)

    def apply(self, rows: Iterable[Mapping[str, Any]]) -> list[Any]:
        """The rows that match, in order."""
        return [row for row in rows if self._evaluator.matches(row)]


def parse_filter(text: str, fields: Fields | None = None) -> Filter:
    """Read an expression; with ``fields``, check that rows with these fields can be asked so.

    Raises :class:`FilterError` with the position, what was expected and, where there is one, a suggestion.
    """
    return Filter(parse_expression(text, fields))


def parse_expression(text: str, fields: Fields | None = None) -> Expression:
    """As :func:`parse_filter`, but the expression alone."""
    return _Parser(scan(text), fields).parse()


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[Token], fields: Fields | None) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._fields = fields

    def parse(self) -> Expression:
        if self._peek().kind is TokenKind.END:
            raise FilterError('it is empty: write for instance ServiceMeta.version == "1"')
        found = self._any()
        if self._peek().kind is not TokenKind.END:
            glued = self._tokens[self._at - 1].kind is TokenKind.NUMBER and not self._peek().spaced
            hint = ": quote a value that is more than one number" if glued else ""
            raise self._expected('"and", "or" or the end', hint)
        return found

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += token.kind is not TokenKind.END
        return token

    def _is_word(self, word: str, ahead: int = 0) -> bool:
        at = self._at + ahead
        return (
            at < len(self._tokens)
            and self._tokens[at].kind is TokenKind.WORD
            and self._tokens[at].text == word
        )

    def _accept_word(self, word: str) -> bool:
        found = self._is_word(word)
        self._at += found
        return found

    def _accept_bracket(self, bracket: str) -> bool:
        found = self._peek().kind is TokenKind.BRACKET and self._peek().text == bracket
        self._at += found
        return found

    def _expected(self, what: str, hint: str = "") -> FilterError:
        token = self._peek()
        return FilterError(f"character {token.position + 1}: expected {what}, found {token.shown}{hint}")

    # Logic

    def _any(self) -> Expression:
        parts = [self._all()]
        while self._accept_word("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Expression:
        parts = [self._negation()]
        while self._accept_word("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _negation(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_FILTER_DEPTH:
            position = self._peek().position + 1
            raise FilterError(
                f'character {position}: brackets and "not" are nested more than {MAX_FILTER_DEPTH} deep'
            )
        found: Expression
        if self._accept_word("not"):
            found = Not(self._negation())
        elif self._accept_bracket("("):
            found = self._any()
            if not self._accept_bracket(")"):
                raise self._expected('"and", "or" or ")"')
        else:
            found = self._question()
        self._depth -= 1
        return found

    # Questions

    def _question(self) -> Match:
        first = self._peek()
        operand = self._operand('a selector, a value, "not" or "("')
        operator = self._peek()
        negated = self._is_word("not") and any(self._is_word(w, 1) for w in ("in", "contains", "matches"))
        self._at += negated
        if self._accept_word("in"):
            value = _text_of(operand)
            at = self._peek()
            return self._checked(Match(self._selector(at), Relation.IN, value, negated, at.position))
        if operator.kind is TokenKind.OPERATOR:
            self._at += 1
            relation, negated = Relation.EQUAL, operator.text == "!="
        elif self._accept_word("contains"):
            relation = Relation.IN
        elif self._accept_word("matches"):
            relation = Relation.MATCHES
        elif self._is_word("is"):
            return self._emptiness(operand, first)
        else:
            raise self._expected(_OPERATORS, _operator_hint(operator))
        selector = self._as_selector(operand, first)
        value = _text_of(self._operand("a value"))
        return self._checked(Match(selector, relation, value, negated, first.position))

    def _emptiness(self, operand: Token | Selector, first: Token) -> Match:
        self._at += 1
        negated = self._accept_word("not")
        if not self._accept_word("empty"):
            raise self._expected(
                '"empty"' if negated else '"empty" or "not empty"', ': write "==" to compare'
            )
        selector = self._as_selector(operand, first)
        return self._checked(Match(selector, Relation.EMPTY, "", negated, first.position))

    def _checked(self, match: Match) -> Match:
        if self._fields is not None and (reason := fault(self._fields, match)):
            raise FilterError(f"character {match.position + 1}: {reason}")
        return match

    # Operands

    def _operand(self, what: str) -> Token | Selector:
        token = self._peek()
        if token.kind is TokenKind.WORD and token.text not in _RESERVED:
            return self._dotted()
        if token.kind in {TokenKind.QUOTED, TokenKind.NUMBER}:
            return self._take()
        hint = ": quote it if it is a value" if token.text in _RESERVED else ""
        raise self._expected(what, hint)

    def _selector(self, first: Token) -> Selector:
        return self._as_selector(self._operand("a selector"), first)

    def _as_selector(self, operand: Token | Selector, first: Token) -> Selector:
        if isinstance(operand, tuple):
            return operand
        place = f"character {first.position + 1}"
        if operand.kind is TokenKind.QUOTED and operand.text.startswith("/"):
            parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in operand.text[1:].split("/"))
            if parts[0]:
                return self._bounded(parts, first)
        raise FilterError(
            f"{place}: expected a selector, found the value {operand.shown}: "
            'a selector is written without quotes, or as a pointer "/Service/Meta/x"; only "in" has the value first'
        )

    def _dotted(self) -> Selector:
        first = self._take()
        parts = [first.text]
        while True:
            if self._accept_bracket("["):
                if self._peek().kind is not TokenKind.QUOTED:
                    raise self._expected('a quoted key after "["')
                parts.append(self._take().text)
                if not self._accept_bracket("]"):
                    raise self._expected('"]"')
            elif self._accept_bracket("."):
                if self._peek().kind not in {TokenKind.WORD, TokenKind.NUMBER} or "." in self._peek().text:
                    raise self._expected("a name after the dot", ': write ["..."] around any other key')
                parts.append(self._take().text)
            else:
                return self._bounded(tuple(parts), first)

    def _bounded(self, parts: Selector, first: Token) -> Selector:
        if len(parts) > MAX_SELECTOR_PARTS:
            raise FilterError(
                f"character {first.position + 1}: a selector of {len(parts)} names, at most {MAX_SELECTOR_PARTS}"
            )
        return parts


def _text_of(operand: Token | Selector) -> str:
    return operand.text if isinstance(operand, Token) else _written(operand)


def _written(selector: Selector) -> str:
    return selector[0] + "".join(f".{name}" for name in selector[1:])


def _operator_hint(token: Token) -> str:
    if token.kind is not TokenKind.WORD:
        return ""
    known = ("in", "contains", "matches", "is", "and", "or", "not")
    return did_you_mean(token.text, known)
