"""``?filter=``: Consul's filter expressions over rows of JSON.

``parse``: text to ``Filter``; ``fields``: which selectors the rows of each endpoint have; ``scan``, ``tree`` and
``evaluate``: the steps between. In: an expression and the fields of an endpoint's rows. Out: a ``Filter``, which tells
whether a row matches, or ``FilterError`` (400) with the position and the fix.
Source: Consul's documentation, API features, filtering.
"""

__all__: list[str] = []
