"""Random filter expressions and rows over few names, so that they meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from meshnode.http.filter.tree import AllOf, AnyOf, Expression, Match, Not, Relation

__all__ = ["expressions", "rows"]

_values = st.sampled_from(["", "a", "ab", "1", "true", 'q"\\`', "new\nline", "é"])
_matches = st.one_of(
    st.builds(
        Match,
        st.sampled_from([("Text",), ("Meta", "k"), ("Meta", "my key"), ("Meta", "gone"), ("Items", "Text")]),
        st.sampled_from([Relation.EQUAL, Relation.IN]),
        _values,
        st.booleans(),
    ),
    st.builds(Match, st.sampled_from([("Tags",), ("Meta",)]), st.just(Relation.IN), _values, st.booleans()),
    st.builds(
        Match,
        st.sampled_from([("Tags",), ("Meta",), ("Text",), ("Items",), ("Meta", "gone")]),
        st.just(Relation.EMPTY),
        st.just(""),
        st.booleans(),
    ),
    st.builds(
        Match,
        st.sampled_from([("Text",), ("Meta", "k"), ("Items", "Text")]),
        st.just(Relation.MATCHES),
        st.sampled_from(["a", "^a$", "[ab]+", "b|1", "", "(a+)+$"]),
        st.booleans(),
    ),
    st.builds(
        Match, st.just(("Port",)), st.just(Relation.EQUAL), st.sampled_from(["1", "80", "1.5"]), st.booleans()
    ),
    st.builds(
        Match, st.just(("Flag",)), st.just(Relation.EQUAL), st.sampled_from(["true", "0"]), st.booleans()
    ),
)


def _grown(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(AllOf, several) | st.builds(AnyOf, several)


expressions: st.SearchStrategy[Expression] = st.recursive(_matches, _grown, max_leaves=8)

_texts = _values.filter(lambda text: "\n" not in text)
rows: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "Text": _texts,
        "Port": st.sampled_from([0, 1, 80, 1.5]),
        "Flag": st.booleans(),
        "Tags": st.none() | st.lists(_texts, max_size=3),
        "Meta": st.none() | st.dictionaries(st.sampled_from(["k", "my key", "a"]), _texts),
        "Items": st.lists(st.fixed_dictionaries({"Text": _texts}), max_size=2),
    }
)
