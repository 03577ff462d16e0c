"""Hypothesis strategies for every value of the model, from the types and bounds of its fields."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import TypeVar, cast

import msgspec
from hypothesis import strategies as st

import p2p.model
from p2p.primitives.codec import Value

V = TypeVar("V", bound=Value)

ITEMS_MAX = 3
"""Longest tuple drawn; the bounds of fields are reached by tests of their own."""


def value_types() -> list[type[Value]]:
    """All concrete values of the model, by name."""
    for module in pkgutil.iter_modules(p2p.model.__path__):
        importlib.import_module(f"p2p.model.{module.name}")
    found = {kind.__name__: kind for kind in _below(Value) if kind.__module__.startswith("p2p.")}
    return [found[name] for name in sorted(found)]


def _below(kind: type[Value]) -> Iterator[type[Value]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def values(kind: type[V]) -> st.SearchStrategy[V]:
    """Any value of this type."""
    return cast("st.SearchStrategy[V]", _strategy(msgspec.inspect.type_info(kind)))


def _strategy(info: msgspec.inspect.Type) -> st.SearchStrategy[object]:
    match info:
        case msgspec.inspect.IntType(ge=low, le=high):
            return st.integers(low, high)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.BytesType(min_length=low, max_length=high):
            return st.binary(min_size=low or 0, max_size=high)
        case msgspec.inspect.StrType(max_length=high):
            return st.text(max_size=high)
        case msgspec.inspect.EnumType(cls=members):
            return st.sampled_from(list(members))
        case msgspec.inspect.VarTupleType(item_type=item, min_length=low, max_length=high):
            most = max(low or 0, min(ITEMS_MAX, ITEMS_MAX if high is None else high))
            return st.lists(_strategy(item), min_size=low or 0, max_size=most).map(tuple)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            pairs = st.dictionaries(_strategy(key), _strategy(value), max_size=ITEMS_MAX)
            return pairs.map(lambda mapping: dict(sorted(mapping.items())))
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([_strategy(one) for one in types])
        case msgspec.inspect.StructType(cls=kind, fields=fields):
            return st.builds(kind, *[_strategy(field.type) for field in fields])
        case _:
            raise NotImplementedError(f"no strategy for {info}")
