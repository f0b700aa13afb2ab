"""The repository: its files are where its documents say, and every command of the README works."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from prunebench.suite import slurm

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
README = ROOT / "README.md"
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize(
    "path",
    [
        *("Snakefile", "environment.yml", "pyproject.toml", "constraints.txt", "Makefile", "LICENSE", ".gitignore"),
        *("config/README.md", "config/smoke.yaml", "config/laptop.yaml", "slurm/config.yaml"),
        *("workflow/rules/common.smk", "workflow/schemas/config.schema.json"),
        *("src/prunebench/data", "src/prunebench/models", "src/prunebench/pruning", "src/prunebench/schedules"),
        *(
            "src/prunebench/optim/grda.py",
            "src/prunebench/analysis",
            "src/prunebench/cli.py",
            "src/prunebench/stats.py",
        ),
        *("src/prunebench/runs", "src/prunebench/suite", "workflow/rules/runs.smk", "benchmarks/optimizer_step.py"),
        *("src/prunebench/papers/s_cyc", "src/prunebench/papers/cascade", "src/prunebench/papers/directional"),
        *(
            "docs/architecture.md",
            "docs/tables.md",
            "docs/rules.md",
            "examples/papers/rewinding",
            "examples/my_ideas.py",
        ),
        *("tests/unit", "tests/workflow", "tests/faults"),
    ],
)
def test_what_the_design_names_is_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "words",
    [
        ["snakefmt", "--check", "Snakefile", "workflow"],
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["mypy"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_sources_are_formatted_linted_and_typed(words):
    done = subprocess.run([TOOLS / words[0], *words[1:]], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_runs_the_tests_through_make():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    lines = [line.strip() for line in script.read_text().splitlines()]
    assert lines[-2:] == ["make test-long", "make test"]
    assert "slurm_tests || slurm_tests --last-failed" in lines
    assert any("PRUNEBENCH_SLURM_TESTS=1 .venv/bin/python -m pytest tests/slurm" in line for line in lines)
    assert lines[0].startswith("#!")
    assert any(line.startswith("set -e") for line in lines)
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def make(*words):
    return subprocess.run(["make", "-n", *words], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_of_the_makefile_can_be_planned_and_is_phony(target):
    done = make(target)
    assert done.returncode == 0, done.stderr
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE).group(1).split()
    assert target in phony


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("reproduce",), "prunebench run laptop"),
        (("reproduce", "PRESET=smoke", "CORES=2"), "prunebench run smoke --cores 2"),
        (("reproduce", "RAW_DATA=/raw"), "prunebench run laptop 'raw_data=/raw'"),
        (("figures", "PRESET=smoke"), "snakemake --cores all figures --config preset=smoke"),
        (("smoke",), "prunebench run smoke"),
        (("test",), "python -m pytest"),
    ],
)
def test_a_make_target_calls_what_it_stands_for(words, part):
    done = make(*words)
    assert done.returncode == 0, done.stderr
    assert part in " ".join(done.stdout.split())


def test_what_the_makefile_calls_exists():
    for path in re.findall(r"(?:python|bash) ([\w/]+\.(?:py|sh))", MAKEFILE):
        assert (ROOT / path).exists(), path


def commands_of(text):
    """The commands in a document's blocks for the shell; where lines begin with `$ `, the others are output."""
    for block in re.findall(r"^```(?:console|bash|sh|shell)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = re.sub(r"\\\n(?:> )?\s*", "", block).splitlines()
        prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        yield from (line.strip() for line in prompted or lines if line.strip() and line.strip()[0] != "#")


def plans_with_snakemake(snakemake, words):
    """The command as a dry run in a folder of its own; a profile's name means the repository's folder."""
    if "--profile" in words:
        place = words.index("--profile") + 1
        words[place] = str(ROOT / words[place])
    if "--report" in words or "--unlock" in words:
        return  # run for real in test_smoke.py
    insert = words.index("--config") if "--config" in words else len(words)
    words[insert:insert] = ["--dry-run", "--quiet"]
    done = snakemake(["--snakefile", str(ROOT / "Snakefile"), *words[1:]])
    assert done.returncode == 0, done.stdout


def is_made(snakemake, words):
    targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
    assert set(targets) <= TARGETS
    done = make(*[word for word in words[1:] if not word.startswith("-")])
    assert done.returncode == 0, done.stderr


def is_a_verb_with_these_options(snakemake, words):
    done = subprocess.run([sys.executable, "-m", "prunebench", words[1], "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option in re.findall(r"--[a-z-]+", " ".join(words[2:])):
        assert option in done.stdout


def names_the_conda_environment(snakemake, words):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    if words[1] == "activate":
        assert words[2] == environment["name"]
    else:
        assert words[words.index("-f") + 1] == "environment.yml"


def names_files_that_exist(snakemake, words):
    for word in words[1:]:
        if "/" in word and not word.startswith((".venv", "-", "/", "results/", "figures/", "http", "git@")):
            assert (ROOT / word).exists(), word


def is_installed_from_here(snakemake, words):
    assert "install" in words
    for word in words:
        if word.endswith(".txt"):
            assert (ROOT / word).exists()
        if word.startswith(".["):
            assert word in (".[dev]",)


def is_a_variable_that_is_read(snakemake, words):
    assert words[1].partition("=")[0] in (*slurm.CHOICES, slurm.MACHINE)


def starts_nothing(snakemake, words):
    """Moves, clones, shows: nothing of ours that could fail."""


CHECKS = [
    (r"(\.venv/bin/)?snakemake ", plans_with_snakemake),
    (r"make( |$)", is_made),
    (r"(\.venv/bin/)?prunebench [a-z-]+", is_a_verb_with_these_options),
    (r"(conda|mamba|micromamba) (env create|create|activate) ", names_the_conda_environment),
    (r"((\.venv/bin/)?python3? -m )?(\.venv/bin/)?pip install ", is_installed_from_here),
    (r"(\.venv/bin/)?(python3? (-m pytest|benchmarks/|examples/)|pytest)", names_files_that_exist),
    (
        r"(git clone|cd|source \.venv/bin/activate|\. \.venv/bin/activate|python3? -m venv \.venv|ls|open|xdg-open)\b",
        starts_nothing,
    ),
    (r"(less|cat|column|head|tail|cp) ", names_files_that_exist),
    (r"export ", is_a_variable_that_is_read),
    (r"squeue ", starts_nothing),
]


def check_of(command):
    return next((check for pattern, check in CHECKS if re.match(pattern, command)), None)


def printed_commands():
    """Of README, CONTRIBUTING, the first steps, of what leads from a cluster's login node to the report, of trouble."""
    names = ("README.md", "CONTRIBUTING.md", "docs/start.md", "docs/cluster.md", "docs/trouble.md")
    documents = [ROOT / name for name in names]
    return list(dict.fromkeys(command for path in documents for command in commands_of(path.read_text())))


@pytest.mark.parametrize("command", printed_commands())
def test_every_printed_command_works(tmp_path, snakemake, command):
    """Dry, where it would train. A command that no line of CHECKS knows is a command that nobody tests."""
    for part in re.split(r" && |; ", command.partition(" # ")[0]):
        part = re.sub(r"^([A-Z_]+=\S+ )+|^srun (--\S+ \d+ )+", "", part.strip())
        check = check_of(part)
        assert check, f"add a check for: {part}"
        part = part.replace("snakemake --cores all", "snakemake --cores 2")
        check(partial(snakemake.forked, tmp_path), shlex.split(part))


def test_the_commands_of_the_plan_s_document_run(tmp_path):
    """In their order, as a reader would type them: the last reads what the one before writes."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    commands = [shlex.split(line) for line in commands_of((ROOT / "docs/plan.md").read_text())]
    assert len(commands) == 4
    for words in commands:
        words = ["0.3" if before == "--seconds" else word for before, word in itertools.pairwise(words)]
        done = subprocess.run(
            [sys.executable, "-m", "prunebench", *words], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert "train_dense" in done.stdout


def test_the_documents_build_into_a_site_without_a_warning(tmp_path):
    """Links and anchors among them, and every docstring of the library."""
    line = [TOOLS / "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {page.stem for page in (tmp_path / "site").glob("*.html")} - {"404"}
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"README"}
    assert pages == documents | {"index", "config", "contributing", "changelog"}
    text = (tmp_path / "site/api.html").read_text()
    assert "prunebench.optim.grda.GRDA" in text
    assert "&gt;&gt;&gt; " in text or 'class="gp"' in text  # examples are code
    for page in (tmp_path / "site").glob("*.html"):
        outside = re.findall(r'(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert not [address for address in outside if re.search(r"fonts|cdn|unpkg", address)], page.name


def test_every_fault_of_the_document_has_a_test_that_is_there():
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 15
    for fault, _, tests in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named, fault
        for path, name in named:
            assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), name
    # test_smoke_makes_every_table_figure_and_run checks the records of all folders by this command
    assert list(commands_of(text)) == ["cd results/laptop/tables && sha256sum --check s_cyc.sha256"]


@pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")
def test_the_readme_has_commands_and_its_links_lead_somewhere():
    text = README.read_text()
    assert len(list(commands_of(text))) >= 3
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (ROOT / target).exists(), target


def test_commands_are_found_and_unknown_ones_are_told():
    text = "```console\n$ make \\\n    smoke\noutput\n```\n```bash\n# a\nfoo --bar\n```\n```python\nmake\n```\n"
    assert list(commands_of(text)) == ["make smoke", "foo --bar"]
    assert check_of("make smoke") is is_made
    assert check_of("foo --bar") is None
    with pytest.raises(AssertionError):
        is_made(None, ["make", "nope"])


# Not `rglob`, which would walk .venv for seconds.
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_document_has_an_unfilled_place(path):
    assert not re.search(r"@[A-Z]+@|TODO|TBD", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["README.md", "docs/extending.md", "docs/start.md"])
def test_the_python_of_a_document_runs(name):
    """All blocks of a document in one session, as a reader would type them."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_drawn_rules_are_those_of_the_workflow(tmp_path):
    """Stale? `make docs`."""
    words = ["--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--cores", "1", "--quiet"]
    line = [TOOLS / "snakemake", *words, "--rulegraph", "mermaid-js", "--config", "preset=smoke"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr

    def rules(text):
        return sorted(re.findall(r"^\tid\d+\[(\w+)\]", text, re.MULTILINE))

    assert rules(done.stdout) == rules((ROOT / "docs/rules.md").read_text())
    assert "prune_chains" in rules(done.stdout)
