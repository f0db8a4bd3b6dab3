"""YAML as plain data: numbers, texts, truth values, lists and mappings."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ..errors import InputError

_DEEPEST = 20  # levels of lists and mappings; a recipe has five
_LARGEST = 2**63


def read_yaml(text: str, where: str) -> Any:
    """Parse YAML without tags, by the rules of YAML 1.2.

    What YAML 1.1 would guess is a text: yes, no, on and off, 2024-01-01, 12:30, and 007. 1e-3 is a number.

    Args:
        text: the YAML.
        where: the name of the text in an error message.

    Raises:
        InputError: the text is not valid YAML, a mapping has a key twice, a number has thousands of digits, or lists and
            mappings are nested too deeply or hold themselves.

    >>> read_yaml("learning_rate: 1e-3", "my recipe")
    {'learning_rate': 0.001}
    >>> read_yaml("labels: [no, yes, 007]", "my recipe")
    {'labels': ['no', 'yes', '007']}
    >>> read_yaml("{seed: 1, seed: 2}", "my recipe")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: 'my recipe' is not valid YAML: line 1 has the key 'seed' a second time.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{where!r} is not valid YAML: {str(error).splitlines()[0].rstrip('.')}.") from error
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where!r} holds a value that is no number of a usual size: write a smaller one.") from error
    except RecursionError as error:
        raise _too_deep(where) from error
    _check_depth(data, where)
    return data


def _check_depth(value: Any, where: str, depth: int = 0) -> None:
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise InputError(f"{where!r} holds a whole number beyond 2^63: write a smaller one.")
    if depth > _DEEPEST:
        raise _too_deep(where)
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, where, depth + 1)


def _too_deep(where: str) -> InputError:
    return InputError(f"{where!r} is nested more than {_DEEPEST} levels deep, or holds itself: write plain values.")


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses a key that stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """The mapping of a node.

        Raises:
            yaml.constructor.ConstructorError: a key stands twice, or is no plain value.
        """
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    line = key.start_mark.line + 1
                    raise yaml.constructor.ConstructorError(f"line {line} has the key {key.value!r} a second time")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9]\d*)", list("-+0123456789")),
    ("float", r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.123456789")),
    ("float", r"[-+]?0(\.\d*([eE][-+]?\d+)?|[eE][-+]?\d+)", list("-+0")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)
