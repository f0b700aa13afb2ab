"""Presets that are wrong or hostile: each ends in one line that names the file and the place, before torch is imported.

`FILES` is a table: what a preset's file holds, and words of the line that it is refused with.
"""

import os
import re
import resource
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench import cli
from prunebench.errors import InputError
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import LARGEST, load_preset

CONFIG = Path(__file__).parents[2] / "config"
SMOKE = (CONFIG / "smoke.yaml").read_text()


def bomb(levels):
    """A billion laughs: each level names the one before ten times."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def merges(levels):
    """The same by `<<`, which writes keys out and not lists."""
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def put(old, new):
    """The smoke preset with `new` in the place of `old`, which it has once or more."""
    assert old in SMOKE
    return SMOKE.replace(old, new, 1)


def task(name):
    """The smoke preset with another task of that name, as YAML writes it."""
    entry = f"{name}: {{dataset: digits, network: mlp, training: {{epochs: 1, batch_size: 8}}}}"
    return put("\ntasks:\n", f"\ntasks:\n  {entry}\n")


SEEDS = re.search(r"^seeds: .*$", SMOKE, re.MULTILINE).group()
SCALE = re.search(r"^scale: .*$", SMOKE, re.MULTILINE).group()

FILES = {
    # Keys that come twice: YAML's last one would win in silence.
    "seeds twice": (SMOKE + "seeds: [7]\n", ["line ", "'seeds' is there twice, first in line 5"]),
    "epochs twice": (put("epochs: 2", "epochs: 2, epochs: 3"), ["'epochs' is there twice"]),
    "a study twice": (SMOKE + "cascade: null\n", ["'cascade' is there twice"]),
    "a task twice": (put("\ntasks:\n", "\ntasks:\n  digits-mlp: {}\n"), ["'digits-mlp' is there twice"]),
    "a key twice in quotes": (SMOKE + '"seeds": [7]\n', ["'seeds' is there twice"]),
    # YAML that explodes or is none.
    "a billion laughs": (bomb(12) + SMOKE, ["with its aliases written out", "1,000,000"]),
    "a billion merges": (merges(12) + SMOKE, ["unknown key 'a0'"]),
    "an alias of itself": (put(SEEDS, "seeds: &a [*a]"), ["seeds.0.0", "nested deeper than 40"]),
    "an alias of itself, as a mapping": (put(SEEDS, "seeds: &a {b: *a}"), ["seeds.b.b", "nested deeper than 40"]),
    "long text many times": (f"x: &x {'y' * 9999}\nz: [{', '.join(['*x'] * 999)}]\n", ["with its aliases"]),
    "nested lists": ("[" * 2_000, ["nested deeper"]),
    "nested mappings": ("{a: " * 2_000, ["nested deeper"]),
    "nested a little": ("seeds: " + "[" * 60 + "]" * 60, ["seeds.0.0", "nested deeper"]),
    "a tab": (put("  digits-mlp:", "\tdigits-mlp:"), ["is not YAML", "line "]),
    "a list": ("- seeds\n", ["must hold a mapping"]),
    "one word": ("smoke\n", ["must hold a mapping"]),
    "nothing": ("", ["must hold a mapping"]),
    "blanks": ("\n  \n# nothing\n", ["must hold a mapping"]),
    "two documents": (SMOKE + "---\na: 1\n", ["is not YAML", "document"]),
    "a bracket left open": ("seeds: [0, 1\n", ["is not YAML"]),
    "an alias of nothing": ("seeds: *nothing\n", ["is not YAML", "nothing"]),
    "a Python object": ("seeds: !!python/object/apply:os.system ['true']\n", ["is not YAML", "python"]),
    "an unknown tag": ("seeds: !secret x\n", ["is not YAML", "!secret"]),
    "a key that is a list": ("? [a]\n: 1\n", ["line 1", "no text"]),
    "a key that is a number": ("5: 1\n", ["line 1", "'5' is no text"]),
    "a key that is yes": (put("\ntasks:\n", "\ntasks:\n  yes: {}\n"), ["'yes' is no text"]),
    "a key that is null": (put("\ntasks:\n", "\ntasks:\n  null: {}\n"), ["'null' is no text"]),
    "a date that is none": ("seeds: 2001-99-99\n", ["is not YAML"]),
    # Encodings.
    "UTF-16": (SMOKE.encode("utf-16"), ["UTF-16"]),
    "latin-1": (put(SCALE, "scale: café").encode("latin-1"), ["not UTF-8", "line 4", "0xe9"]),
    "bytes": (bytes(range(256)), ["not UTF-8"]),
    "a zero byte": (SMOKE.encode() + b"\0", ["is not YAML"]),
    "a file that is too large": (SMOKE + "#" * LARGEST, [f"more than {LARGEST:,} bytes"]),
    # Characters.
    "an escape sequence": (put(SCALE, 'scale: "\\e[2J"'), ["'scale'", "'\\x1b'"]),
    "an escaped zero": (put(SCALE, 'scale: "a\\0b"'), ["'scale'", "'\\x00'"]),
    "text that runs backwards": (put(SCALE, "scale: a\u202eb"), ["'scale'", "'\\u202e'"]),
    "half a letter": (put(SCALE, 'scale: "\\ud800"'), ["'scale'", "'\\ud800'"]),
    "a zero in a path": (SMOKE + 'plugins: ["a\\0.py"]\n', ["'plugins.0'", "'\\x00'"]),
    "an escape sequence as a key": (SMOKE + '"\\e[2J": 1\n', ["'\\x1b'"]),
    # Names.
    "a task named null": (task('"null"'), ["tasks.null", "'null' is no name"]),
    "a task named nan": (task("nan"), ["tasks.nan", "'nan' is no name"]),
    "a task named 1e5": (task("1e5"), ["tasks.1e5", "'1e5' is no name"]),
    "a task named 007": (task('"007"'), ["tasks.007", "'007' is no name"]),
    "a task named infinity": (task("infinity"), ["tasks.infinity", "is no name"]),
    "a schedule named nan": (put("\nschedules:\n", "\nschedules:\n  nan: {}\n"), ["schedules.nan", "is no name"]),
    "a data set named true": (put("\ndatasets:\n", '\ndatasets:\n  "true": {}\n'), ["datasets.true", "is no name"]),
    "a preset named null": (put("preset: smoke", 'preset: "null"'), ["preset", "'null' is no name"]),
    "a task named HTML": (task("<script>"), ["tasks.<script>"]),
    "a task out of its folder": (task("../x"), ["tasks.../x"]),
    "a task named by a path": (task("a/b"), ["tasks.a/b"]),
    "a task named in Greek": (task("ταυ"), ["tasks.ταυ"]),
    "a name of 100 letters": (task("x" * 100), ["tasks.xxx", "64"]),
    "a task without a name": (task('""'), ["tasks."]),
    "a preset out of its folder": (put("preset: smoke", "preset: ../../tmp/x"), ["'preset'", "'../../tmp/x'"]),
    "a preset of an absolute path": (put("preset: smoke", "preset: /tmp/x"), ["'preset'", "'/tmp/x'"]),
    # Numbers.
    "a million seeds": (put(SEEDS, f"seeds: [{','.join(map(str, range(35_000)))}]"), ["'seeds'", "at most 1000"]),
    "a seed of 30 digits": (put(SEEDS, f"seeds: [{10**30}]"), ["'seeds.0'", "64 bits"]),
    "a seed of a million digits": (put(SEEDS, f"seeds: [{'9' * 100_000}]"), ["4300 digits"]),
    "a seed of as many in hex": (put(SEEDS, f"seeds: [0x{'f' * 100_000}]"), ["'seeds.0'", "64 bits"]),
    "a seed below 0": (put(SEEDS, "seeds: [-1]"), ["'seeds.0'", "greater than or equal to 0", "-1"]),
    "half a seed": (put(SEEDS, "seeds: [0.5]"), ["'seeds.0'", "integer", "0.5"]),
    "a seed that is true": (put(SEEDS, "seeds: [true]"), ["'seeds'", "true or false"]),
    "seeds in words": (put(SEEDS, "seeds: three"), ["'seeds'", "list", "'three'"]),
    "no seeds": (put(SEEDS, "seeds: []"), ["'seeds'", "at least 1"]),
    "seeds that are null": (put(SEEDS, "seeds:"), ["'seeds'", "list", "None"]),
    "the same seed twice": (put(SEEDS, "seeds: [3, 3]"), ["seeds holds a value twice"]),
    "a billion epochs": (put("epochs: 2", "epochs: 1000000000"), ["epochs'", "less than or equal to", "1000000000"]),
    "no epochs": (put("epochs: 2", "epochs: 0"), ["epochs'", "greater than or equal to 1", "found 0"]),
    "epochs that are yes": (put("epochs: 2", "epochs: yes"), ["epochs'", "yes or no"]),
    "a batch as large as a number can be": (put("batch_size: ", "batch_size: 99999"), ["batch_size is 99999"]),
    "NaN": (put("weight_decay: 5.0e-4", "weight_decay: .nan"), ["weight_decay", "finite"]),
    "infinity": (put("weight_decay: 5.0e-4", "weight_decay: .inf"), ["weight_decay", "finite"]),
    "beyond floating point": (put("weight_decay: 5.0e-4", "weight_decay: 1.0e+999"), ["weight_decay", "finite"]),
    "a decimal comma": (put("weight_decay: 5.0e-4", "weight_decay: '0,5'"), ["weight_decay", "number", "'0,5'"]),
    "a million threads": (SMOKE + "resources: {threads: 1000000}\n", ["'resources.threads'", "1024"]),
    # Keys.
    "a key misspelt": (put("seeds:", "sedes:"), ["unknown key 'sedes'", "did you mean 'seeds'?"]),
    "a key misspelt below": (put("momentum:", "momentun:"), ["momentun'", "did you mean 'momentum'?"]),
    "a key missing": (put(SCALE, ""), ["'scale': field required"]),
    "no study": (SMOKE[: SMOKE.index("\ns_cyc:")], ["no study"]),
    "a label without an end": (put(SCALE, f"scale: {'x' * 1000}"), ["'scale'", "200"]),
    "a label of nothing": (put(SCALE, 'scale: ""'), ["'scale'", "at least 1"]),
    "a plugin that is not there": (SMOKE + "plugins: [nowhere.py]\n", ["nowhere.py: no such file"]),
    "a plugin that is a device": (SMOKE + "plugins: [/dev/null]\n", ["/dev/null", "no Python file"]),
    "a paper that is not there": (SMOKE + "papers: [../nowhere]\n", ["../nowhere: no such file"]),
}


@pytest.fixture
def refusal(monkeypatch, capfd, tmp_path):
    """The one line with which `prunebench` refuses these words in a folder of files, where it changes nothing."""
    monkeypatch.chdir(tmp_path)

    def of(*words):
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["prunebench", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        assert (end.value.code, out) == (2, ""), err
        assert err.startswith("prunebench: ")
        assert (err.count("\n"), err.isascii() or err[:-1].isprintable()) == (1, True)
        assert len(err) < 2100
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return of


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_preset_is_one_line(refusal, tmp_path, name):
    content, words = FILES[name]
    (tmp_path / "my.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    line = refusal("plan", "my.yaml")
    assert str(tmp_path / "my.yaml") in line
    for word in words:
        assert word in line


HARMLESS = {
    "a byte order mark": SMOKE.encode("utf-8-sig"),
    "line ends of Windows": SMOKE.replace("\n", "\r\n").encode(),
    "a key that `<<` brings in and the mapping has, too": SMOKE.encode(),
    "no last line end": SMOKE.rstrip().encode(),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_is_read(tmp_path, name):
    (tmp_path / "my.yaml").write_bytes(HARMLESS[name])
    preset = load_preset(tmp_path / "my.yaml")
    assert preset == load_preset(CONFIG / "smoke.yaml")
    assert preset.datasets["digits-fifth"].train == 419


# --- What is no file, and names of presets


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link to itself", "link to nowhere", "one of 1 GB"])
def test_what_is_no_file_of_a_preset_is_not_read(refusal, tmp_path, kind):
    """Nothing waits for the pipe, and of the large file at most the limit is read."""
    path = tmp_path / "my.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "one of 1 GB":
        path.touch()
        os.truncate(path, 1 << 30)
    else:
        path.symlink_to({"device": "/dev/zero", "link to itself": path, "link to nowhere": "nowhere"}[kind])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ("/dev/zero" if kind == "device" else "my.yaml") in refusal("plan", "my.yaml")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["../smoke"], "preset '../smoke': allowed are"),
        (["../../etc/passwd"], "preset '../../etc/passwd': allowed are"),
        (["/etc/passwd"], "preset '/etc/passwd': allowed are"),
        (["config/smoke"], "preset 'config/smoke': allowed are"),
        (["nowhere.yaml"], "nowhere.yaml: No such file or directory"),
        (["."], "preset '.': allowed are"),
        (["smok"], "did you mean 'smoke'?"),
        (["x" * 300], "File name too long"),
        (["sm\x1b[31moke"], "No such file or directory"),
        (["smoke", "--config", "seeds"], "--config seeds: must be key=value"),
        (["smoke", "--config", "=3"], "--config =3: must be key=value"),
        (["smoke", "--config", "seeds=[1"], "--config seeds: is not YAML"),
        (["smoke", "--config", "seeds=[1, 1]"], "seeds holds a value twice: [1, 1]"),
        (["smoke", "--config", "seeds=5"], "'seeds': input should be a valid list, found 5"),
        (["smoke", "--config", "sedes=[1]"], "unknown key 'sedes': did you mean 'seeds'?"),
        (["smoke", "--config", "seeds=[1]", "--config", "seeds=[2]"], "--config has the key 'seeds' twice"),
        (["smoke", "--config", "claims={calibration: {tables: 100, tables: 200}}"], "'tables' is there twice"),
    ],
    ids=lambda value: " ".join(value)[:40].replace("\x1b", "ESC") if isinstance(value, list) else "",
)
def test_a_wrong_name_or_change_of_a_preset_is_one_line(refusal, tmp_path, words, message):
    (tmp_path / "config").symlink_to(CONFIG)
    assert message in refusal("plan", *words)


# --- Whatever is written into a preset


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([line for line in SMOKE.splitlines() if re.match(r" *[a-z_-]+: [^&*]*$", line)]))
def test_a_line_that_is_there_twice_is_refused_whichever_it_is(tmp_path_factory, line):
    path = tmp_path_factory.getbasetemp() / "twice.yaml"
    path.write_text(SMOKE.replace(f"\n{line}\n", f"\n{line}\n{line}\n", 1))
    with pytest.raises(InputError, match=re.escape(f"the key '{line.split(':')[0].strip()}' is there twice")):
        load_preset(path)


HOSTILE = [
    "\t",
    "\0",
    "\ufeff",
    "&a ",
    "*a",
    "<<: ",
    "? ",
    "!!binary ",
    "!!set ",
    "!!omap ",
    "null",
    ".nan",
    "1e5",
    "-",
]
HOSTILE += [
    "{",
    "}",
    "[",
    "]",
    ": ",
    ",",
    "\n",
    "  ",
    "'",
    '"',
    "|",
    "---\n",
    "%YAML 9.9\n",
    "\u2028",
    "\x85",
    "9" * 30,
]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SMOKE)), st.integers(0, 12), st.sampled_from(HOSTILE) | st.text(max_size=5)),
        min_size=1,
        max_size=3,
    )
)
def test_a_preset_with_changed_letters_is_read_or_refused_in_one_line(tmp_path_factory, changes):
    text = SMOKE
    for place, length, new in changes:
        text = text[:place] + new + text[place + length :]
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        plan, message = make_plan(load_preset(path)), ""
    except InputError as error:
        plan, message = None, str(error)
    assert len(message.splitlines()) == (plan is None)
    assert plan or str(path) in message
