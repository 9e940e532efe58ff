"""`specc fmt`: one layout, every comment kept, the meaning never changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from specc.canonical import FormatError, format_text
from specc.canonical.document import comments
from specc.source import SpecErrors
from specc.source.reader import parse
from specc.source.tree import to_data
from tests.compiling import planned
from tests.conftest import ROOT, Specc

SHIPPED = sorted(ROOT.glob("specs/**/*.yaml"))


def laid_out(text: str) -> str:
    """The canonical text, after what must hold for every text."""
    out = format_text(text, "spec.yaml")
    assert format_text(out, "spec.yaml") == out, "laying out twice changes nothing more"
    assert sorted(c for _, c in comments(out)) == sorted(c for _, c in comments(text))
    assert out.endswith("\n")
    assert not out.endswith("\n\n")
    assert all(line == line.rstrip(" \t") for line in out.splitlines())
    return out


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_are_as_fmt_writes_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert laid_out(text) == text


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("seed: 1\nname: a\nspecc: 1\n", "specc: 1\nname: a\nseed: 1\n"),
        ("seed:    1   \n\n\n\nname: 'a'", "name: a\nseed: 1\n"),
        ("name: a\n\n\n\nseed: 1\n", "name: a\n\nseed: 1\n"),
        ("tags: [ a,b ,  'c d', \"1\", 'no', 'x: y']\n", 'tags: [a, b, c d, "1", "no", "x: y"]\n'),
        ("model:\n    norm: {eps: 1e-5, kind: rmsnorm}\n", "model:\n  norm: {kind: rmsnorm, eps: 1.0e-5}\n"),
        ("model: {init: {std: 2E-2}}\n", "model: {init: {std: 2.0e-2}}\n"),
        ("data:\n  b: {tokens: '1000000tokens'}\n  a: {}\n", "data:\n  b: {tokens: 1000000 tokens}\n  a: {}\n"),
        ("data: {x: {tokens: 1.50M tokens, holdout: 2.0 %}}\n", "data: {x: {holdout: 2%, tokens: 1.5M tokens}}\n"),
        ("model: {tie_embeddings: True}\n", "model: {tie_embeddings: true}\n"),
        ("tags:\n- a\n- b\n", "tags:\n  - a\n  - b\n"),
        ("description: a\n  b\n  c\n", "description: a b c\n"),
        ("description: |\n      one\n        two\n\n      three\nname: a\n",
         "name: a\ndescription: |\n  one\n    two\n\n  three\n"),
        ("stages: {z: {from: a, kind: sft}, a: {kind: pretrain}}\n",
         "stages: {z: {kind: sft, from: a}, a: {kind: pretrain}}\n"),
        ("slurm: {mem: 1TiB}\nnodes: 2\n", "nodes: 2\nslurm: {mem: 1 TiB}\n"),
        ("unknown: 1\nseed: 2\nspecc: 1\n", "specc: 1\nseed: 2\nunknown: 1\n"),
        ("{name: a, specc: 1}\n", "specc: 1\nname: a\n"),
        ("name: a\ndata:\ntags: []\n", "name: a\ntags: []\ndata:\n"),
        ('"name": "a\\u00e9"\n', 'name: "a\\u00e9"\n'),
    ],
)  # fmt: skip
def test_one_layout(written: str, canonical: str) -> None:
    assert laid_out(written) == canonical


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("# top\nseed: 1\nspecc: 1\n", "# top\nspecc: 1\nseed: 1\n"),
        ("# top\n\n# of seed\nseed: 1 # end\nspecc: 1\n", "# top\n\nspecc: 1\n# of seed\nseed: 1  # end\n"),
        ("specc: 1\n# last\n", "specc: 1\n# last\n"),
        ("model: # m\n  # first\n  norm: {kind: rmsnorm} # n\n  # inner last\n# of data\ndata: {}\n",
         "model:  # m\n  # first\n  norm: {kind: rmsnorm}  # n\n  # inner last\n# of data\ndata: {}\n"),
        ("model: {num_layers: 2, # two\n  hidden_size: 8} # all\n",
         "model:  # all\n  hidden_size: 8\n  num_layers: 2  # two\n"),
        ("model: { # open\n  hidden_size: 8\n  # shut\n  }\n", "model:  # open\n  hidden_size: 8\n  # shut\n"),
        ("tags: [a, # one\n  # two\n  b\n  # three\n  ]\n", "tags:\n  - a  # one\n  # two\n  - b\n  # three\n"),
        ("tags:\n# a\n- x # x\n\n# b\n- y\n", "tags:\n  # a\n  - x  # x\n\n  # b\n  - y\n"),
        ("suites:\n  s:\n    tasks:\n    - # dash\n      # own\n      num_fewshot: 1\n      task: t # t\n",
         "suites:\n  s:\n    tasks:\n      # dash\n      - task: t  # t\n        # own\n        num_fewshot: 1\n"),
        ("description: | # why\n  text # not one\nname: a\n", "name: a\ndescription: |  # why\n  text # not one\n"),
        ("name: # here\n  # there\n  a # and here\nseed: 1\n", "# there\n# here\nname: a  # and here\nseed: 1\n"),
        ("name: 'a # b'\ndescription: a#b # c\n", "name: 'a # b'\ndescription: a#b  # c\n"),
        ("tags: [] # none\ndata: {} # none\n", "tags: []  # none\ndata: {}  # none\n"),
        ("tags: [\n  # only\n  ]\n", "# only\ntags: []\n"),
        ("#a\n#\n\n\n#b\nseed: 1\n", "#a\n#\n\n#b\nseed: 1\n"),
    ],
)  # fmt: skip
def test_every_comment_stays_with_what_it_is_about(written: str, canonical: str) -> None:
    if "'a # b'" in canonical:
        canonical = canonical.replace("'a # b'", '"a # b"')
    assert laid_out(written) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model: &m {norm: {kind: rmsnorm}}\ndata: *m\n", "line 1 has an anchor"),
        ("%YAML 1.2\n---\nname: a\n", "line 1 has a directive"),
        ("name: a\x85seed: 1\n", "line 1 has a line break other than a newline"),
        ("description: |2\n   a\n  b\n", "a block scalar that says how it is indented"),
        ("description: |+\n  a\n\n\nname: b\n", "a block scalar that says how it is indented"),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        format_text(text, "spec.yaml")


def test_what_is_no_yaml_is_a_diagnostic() -> None:
    with pytest.raises(SpecErrors):
        format_text("a: [1\n", "spec.yaml")


def test_a_flow_section_beyond_120_columns_becomes_a_block() -> None:
    names = ", ".join(f"source_{n}: {{path: files_{n}.txt}}" for n in range(6))
    out = laid_out(f"data:\n  mix: {{sources: {{{names}}}}}\n")
    assert max(map(len, out.splitlines())) <= 120
    assert "  mix:\n    sources:\n      source_0: {path: files_0.txt}\n" in out


KEYS = st.sampled_from(
    ["seed", "name", "specc", "model", "data", "stages", "tags", "kind", "from", "other", "x y", "é"]
)
WORDS = st.one_of(
    st.integers(-5, 5), st.sampled_from([True, None, 0.5, "2000 steps", "no", "a # b", "a: b", "it's", '"', "- x", ""]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=6),
)  # fmt: skip
TREES = st.recursive(
    WORDS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
COMMENT = st.sampled_from(["", "", "", " # c", "  #x", " # {a: 1}", " # 'q"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A tree as PyYAML writes it, with comments strewn over its lines and between them."""
    tree = draw(st.dictionaries(KEYS, TREES, min_size=1, max_size=5))
    style = draw(st.sampled_from([False, None, True]))
    text = yaml.safe_dump(tree, default_flow_style=style, allow_unicode=True, sort_keys=False, width=30)
    lines = []
    for index, line in enumerate(text.splitlines()):
        own = draw(COMMENT).strip()
        if own:
            lines.append(" " * draw(st.integers(0, 8)) + f"{own} {index}")
        if draw(st.integers(0, 5)) == 0:
            lines.append("")
        end = draw(COMMENT)
        lines.append(line + (f"{end} {index}" if end else ""))
    return "\n".join(lines) + "\n"


@given(documents())
@settings(max_examples=300, deadline=None)
def test_comments_strewn_anywhere_are_kept(text: str) -> None:
    try:
        before = to_data(parse(text, "spec.yaml"))
    except SpecErrors:
        # A comment inside a text of several lines ends the text.
        return
    assert to_data(parse(laid_out(text), "spec.yaml")) == before


def test_the_meaning_of_a_spec_is_that_of_its_layout(tmp_path: Path) -> None:
    text = (ROOT / "specs/quickstart.yaml").read_text(encoding="utf-8")
    mixed = (
        text.replace("700 steps", "'0.70K steps'").replace("4.0e-3", "4e-3").replace("[pretrain]", "\n    - pretrain")
    )
    (tmp_path / "spec.yaml").write_text(laid_out(mixed), encoding="utf-8")
    assert (
        planned(spec=tmp_path / "spec.yaml").experiment.identity
        == planned(spec=ROOT / "specs/quickstart.yaml").experiment.identity
    )


def test_the_command_writes_and_then_has_nothing_to_do(specc: Specc, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("seed: 1\r\nspecc: 1 # one\r\n", encoding="utf-8", newline="")
    checked = specc("fmt", "--check", "spec.yaml")
    assert checked.code == 1
    assert "+specc: 1  # one" in checked.out
    assert specc("fmt", "--diff", "spec.yaml").code == 0
    assert spec.read_bytes() == b"seed: 1\r\nspecc: 1 # one\r\n"
    assert specc("fmt", "spec.yaml").out == "spec.yaml: laid out\n"
    assert spec.read_bytes() == b"specc: 1  # one\nseed: 1\n"
    assert specc("fmt", "--check", "spec.yaml").code == 0


def test_what_is_refused_stays_as_it_is(specc: Specc, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    for text in ("a: &x 1\nb: *x\n", "a: [1\n", ""):
        spec.write_text(text, encoding="utf-8")
        said = specc("fmt", "spec.yaml")
        assert said.code == 1
        assert "Traceback" not in said.err
        assert spec.read_text(encoding="utf-8") == text
    assert specc("fmt", "nowhere.yaml").code == 1
    assert specc("fmt").code == 2


def test_a_no_break_space_is_text_also_at_the_end_of_a_line() -> None:
    assert laid_out("seed: \xa0\nname: a\xa0\n") == "name: a\xa0\nseed: \xa0\n"
