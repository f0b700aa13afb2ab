"""A starting point for a user's idea: its file, a preset that decides its claim, and a test, all of them working."""

import keyword
from pathlib import Path

from prunebench.errors import InputError, nearest
from prunebench.files import write_text

TEMPLATES = Path(__file__).parent / "starts"
PLACEHOLDER, CLASS, FOLDER = "my_idea", "MyIdea", "FOLDER/"
"""What an idea, its class and its folder are called in the templates."""

KINDS = ("schedule", "criterion", "update", "network", "dataset", "paper")
"""What there is a starting point for."""


def start(kind: str, name: str, folder: Path) -> list[Path]:
    """Writes the files of a new idea into a folder and returns their paths.

    Raises InputError for an unknown kind, for a name that no Python module can have, and where a file is there already:
    nothing is written then.
    """
    if kind not in KINDS:
        raise InputError(f"nothing new of kind '{kind}': {nearest(kind, KINDS)}")
    if not name.isascii() or not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise InputError(f"'{name:.80}' names no idea; allowed: lower-case letters, digits and _, such as warm_cosine")
    path = "" if folder == Path() else f"{folder.as_posix()}/"
    class_name = "".join(part.capitalize() for part in name.split("_")) or name
    made: dict[Path, str] = {}
    for template in sorted((TEMPLATES / kind).rglob("*")):
        if template.suffix in (".py", ".yaml", ".rst"):
            place = folder / str(template.relative_to(TEMPLATES / kind)).replace(PLACEHOLDER, name)
            text = template.read_text(encoding="utf-8").replace(PLACEHOLDER, name).replace(CLASS, class_name)
            made[place] = text.replace(FOLDER, path)
    if there := [place for place in made if place.exists()]:
        raise InputError(f"{there[0]} is there already: choose another name, or another folder with --to")
    for place, text in made.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, text)
    return [*made]
