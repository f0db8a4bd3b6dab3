"""Check the built site: every link, picture and anchor inside it exists, and no page fetches anything from outside.

python tools/links.py site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page names: addresses with their tag, and anchors."""

    def __init__(self, path: Path):
        super().__init__()
        self.addresses: list[tuple[str, str]] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a tag names."""
        values = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        for key in ("href", "src"):
            if value := values.get(key):
                self.addresses.append((tag, value))


def problems(root: Path) -> list[str]:
    """A line per address that leads nowhere, or that a page would fetch from outside."""
    pages = {path.resolve(): Page(path) for path in sorted(root.glob("**/*.html")) if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        for tag, address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme in ("http", "https") or parts.netloc:
                if tag in FETCHED:
                    found.append(f"{path.relative_to(root.resolve())} fetches {address}")
                continue
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{path.relative_to(root.resolve())} names {address}, which does not exist")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{path.relative_to(root.resolve())} names {address}, which has no such anchor")
    return found


def main() -> None:
    """Print what is wrong, and fail if something is."""
    found = problems(Path(sys.argv[1]))
    print("\n".join(found) or "every link of the site leads somewhere")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
