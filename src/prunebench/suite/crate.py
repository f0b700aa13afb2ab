"""RO-Crate metadata of an export: what it is, its files with checksums, by which software, from which preset.

https://www.researchobject.org/ro-crate/specification/1.1
"""

import json
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import prunebench
from prunebench.errors import InputError
from prunebench.files import read_text, sha256_of
from prunebench.parsing import parse_yaml

if TYPE_CHECKING:
    from prunebench.suite.load import Results

METADATA = "ro-crate-metadata.json"
"""The file's name, which the specification gives."""

CONTEXT, PROFILE = "https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/crate/1.1"
SOFTWARE = f"#prunebench-{prunebench.__version__}"
LARGEST = 1 << 20
"""Bytes of the largest CITATION.cff or metadata file that is read."""

FORMATS = {".parquet": "application/vnd.apache.parquet", ".csv": "text/csv", ".json": "application/json"}

Entity = dict[str, Any]


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export of ours, by its metadata."""
    try:
        content = json.loads(read_text(folder / METADATA, LARGEST))
        return any(str(entity.get("@id", "")).startswith("#prunebench-") for entity in content["@graph"])
    except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def crate(results: "Results", out: Path, files: Mapping[str, str], variables: Sequence[Mapping[str, str]]) -> Entity:
    """The metadata of an export in `out`: `files` by name, each in words; the columns of its long table."""
    citation = read_citation()
    authors = [*_authors(citation)]
    licence = _licence(citation)
    measured = [
        {"@id": f"#column-{each['name']}", "@type": "PropertyValue", "name": each["name"]}
        | ({"description": each["meaning"]} if each["meaning"] else {})
        for each in variables
    ]
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"prunebench: results of the preset {results.preset.preset}",
        "description": f"{results.preset.scale}. Reproducibility benchmarks of papers on neural-network pruning: "
        + "; ".join(paper.title for paper, _ in results.preset.studies().values()),
        "datePublished": _date(results),
        "hasPart": [{"@id": name} for name in files],
        "variableMeasured": [{"@id": each["@id"]} for each in measured],
        "citation": [{"@id": f"https://arxiv.org/abs/{number}"} for _, number in _arxiv(results)],
        "license": {"@id": licence["@id"]},
    }
    if authors:
        root["author"] = [{"@id": author["@id"]} for author in authors]
    software: Entity = {
        "@id": SOFTWARE,
        "@type": "SoftwareApplication",
        "name": "prunebench",
        "version": prunebench.__version__,
        "softwareVersion": prunebench.__version__,
        "license": {"@id": licence["@id"]},
    }
    made: Entity = {
        "@id": "#export",
        "@type": "CreateAction",
        "name": "prunebench export",
        "instrument": {"@id": SOFTWARE},
        "result": [{"@id": name} for name in files],
    }
    about: Entity = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": PROFILE},
        "about": {"@id": "./"},
    }
    papers = [
        {"@id": f"https://arxiv.org/abs/{number}", "@type": "ScholarlyArticle", "name": title}
        for title, number in _arxiv(results)
    ]
    entities = [_file(out / name, words) for name, words in files.items()]
    graph = [about, root, *entities, software, made, *authors, licence, *papers, *measured]
    return {"@context": CONTEXT, "@graph": graph}


def _file(path: Path, words: str) -> Entity:
    form = FORMATS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {
        "@id": path.name,
        "@type": "File",
        "name": path.name,
        "description": words,
        "encodingFormat": form,
        "contentSize": str(path.stat().st_size),
        "sha256": sha256_of(path),
    }


def _date(results: "Results") -> str:
    """When the last run ended; today where that is not known: the same results give the same bytes."""
    ended = results.runs["finished"].dropna() if "runs" in results and "finished" in results.runs else ()
    return max(map(str, ended))[:10] if len(ended) else datetime.now(UTC).date().isoformat()


def _arxiv(results: "Results") -> list[tuple[str, str]]:
    """Title and number of the papers."""
    studies = results.preset.studies().values()
    return [(paper.title, number) for paper, _ in studies for _, number in paper.arxiv]


# --- Who and under which licence


def read_citation() -> Mapping[str, Any]:
    """CITATION.cff of the checkout that the package is in, or of the working directory; empty where there is none."""
    checkout = Path(prunebench.__file__).parents[2]
    for folder in (checkout, Path()):
        path = folder / "CITATION.cff"
        if path.is_file():
            content = parse_yaml(read_text(path, LARGEST))
            return content if isinstance(content, dict) else {}
    return {}


def _authors(citation: Mapping[str, Any]) -> Iterator[Entity]:
    for number, author in enumerate(citation.get("authors") or ()):
        person = "family-names" in author or "given-names" in author
        name = " ".join(str(author[key]) for key in ("given-names", "family-names", "name") if author.get(key))
        entity: Entity = {
            "@id": author.get("orcid") or f"#author-{number}",
            "@type": "Person" if person else "Organization",
            "name": name,
        }
        if author.get("affiliation"):
            entity["affiliation"] = author["affiliation"]
        yield entity


def _licence(citation: Mapping[str, Any]) -> Entity:
    name = str(citation.get("license") or "MIT")
    return {"@id": f"https://spdx.org/licenses/{name}", "@type": "CreativeWork", "name": name, "identifier": name}
