"""Write the types of `reprogram`'s options, so that an editor completes them and a type checker knows them.

    python tools/option_types.py             write
    python tools/option_types.py --check     fail if the file is out of date (a test does this)

They come from the `Options` of each method of this package and from the signature of `reprogram`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from hf_reprogram.methods import METHODS
from hf_reprogram.methods.reprogramming import reprogram

PATH = Path(__file__).resolve().parent.parent / "hf_reprogram" / "methods" / "option_types.py"
HEAD = '''"""The types of the options of `reprogram`, by method, for editors and type checkers; never imported at run time.

`python tools/option_types.py` writes this file: change the `Options` of a method, then run it.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Protocol, TypedDict, Unpack, overload

from torch import nn

from ..model import ReprogrammedModel
'''
PROTOCOL = '''class Reprogram(Protocol):
    """`hf_reprogram.reprogram`, with the options of each method of this package.

    A method of a third party, or one whose name is known only at run time, is not among them:
    call `hf_reprogram.methods.reprogramming.reprogram`, the same function, which takes any name and any options.
    """
'''


def record(name: str, base: str, about: str, types: Mapping[str, str]) -> str:
    """The source of a `TypedDict` whose keys may all be left out."""
    lines = [f"class {name}({base}, total=False):", f'    """{about}"""', ""]
    return "\n".join(lines + [f"    {key}: {kind}" for key, kind in types.items()]) + "\n"


def generated() -> str:
    """The whole file."""
    signature = inspect.signature(reprogram)
    parameters = signature.parameters.values()
    first = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    common = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    parts = [HEAD, record("CommonOptions", "TypedDict", "The options of every method.", common)]
    calls = [PROTOCOL]
    for name in METHODS:
        method = METHODS[name]
        if not method.__module__.startswith("hf_reprogram."):  # installed here by chance
            continue
        kind = f"{method.__name__}Options"
        own = {field.name: str(field.type) for field in fields(method.Options)}
        parts.append(record(kind, "CommonOptions", f"The options of the method `{name}`.", own))
        lines = ["    @overload", "    def __call__(", "        self,"]
        for p in first:
            default = "" if p.default is p.empty else f" = {p.default!r}"
            if p.name != "method":
                lines.append(f"        {p.name}: {p.annotation}{default},")
            else:  # only the default method may go without its name
                lines.append(f'        method: Literal["{name}"]' + (f' = "{name}",' if p.default == name else ","))
        lines += [f"        **options: Unpack[{kind}],", f"    ) -> {signature.return_annotation}: ..."]
        calls.append("\n".join(lines) + "\n")
    return "\n\n".join([*parts, "\n".join(calls)])


def main() -> None:
    """Write the file, or with --check fail if it is out of date."""
    text = generated()
    if "--check" not in sys.argv[1:]:
        PATH.write_text(text, encoding="utf-8")
    elif not PATH.exists() or PATH.read_text(encoding="utf-8") != text:
        sys.exit(f"out of date: {PATH.name} (run `python tools/option_types.py`)")


if __name__ == "__main__":
    main()
