"""Hooks of mkdocs: documents that lie outside of docs/, and links to files that are no documents."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {"config.md": "config/README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Page of the site -> the repository's file."""

LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """The documents that lie elsewhere become pages, too."""
    for page, source in BESIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """A link to a file that is no page becomes its path: the site holds documents alone."""
    here = ROOT / Path(BESIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")).parent
    pages = {(ROOT / source).resolve(): name for name, source in BESIDE.items()}

    def replaced(match):
        text, target, anchor = match[1], match[2], match[3] or ""
        place = (here / target).resolve()
        if re.match(r"\w+:", target) or not place.is_relative_to(ROOT):
            return match[0]
        if place in pages:
            return f"[{text}]({pages[place]}{anchor})"
        if place.is_relative_to(ROOT / "docs") and place.is_file():
            return f"[{text}]({place.relative_to(ROOT / 'docs').as_posix()}{anchor})"
        path = place.relative_to(ROOT).as_posix()
        return f"`{path}`" if text.strip("`./") in path else f"{text} (`{path}`)"

    return LINK.sub(replaced, markdown)
