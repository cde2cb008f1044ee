"""Words that we do not use: the house's own terms towards users, British spellings, and phrases that have to be read twice."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from typing_extensions import override

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "lightning_cossim"
FRONT: Final = [ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in ("index", "numbers", "thresholds", "tensorboard"))]
PAGES: Final = [*(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"), *(ROOT / "docs").glob("*.md")]
EXAMPLES: Final = [path for path in (ROOT / "examples").iterdir() if path.suffix in {".py", ".yaml"}]
SOURCES: Final = sorted(PACKAGE.rglob("*.py"))
TAB: Final = sorted((PACKAGE / "tensorboard_plugin" / "static").glob("*.js"))


class Text(NamedTuple):
    """A text that a person reads, and where it is."""

    path: Path
    line: int
    text: str

    @override
    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {' '.join(self.text.split())[:160]}"


def lines(path: Path) -> Iterator[Text]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        yield Text(path, number, line)


def strings(path: Path) -> Iterator[Text]:
    """Every string of a module that is not a docstring: messages, help, titles."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield Text(path, node.lineno, node.value)


def prose(path: Path) -> Iterator[Text]:
    """Every string and comment of a module, docstrings too."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in {
            tokenize.STRING,
            tokenize.COMMENT,
            tokenize.FSTRING_MIDDLE if hasattr(tokenize, "FSTRING_MIDDLE") else -1,
        }:
            yield Text(path, token.start[0], token.string)


def everything() -> Iterator[Text]:
    for path in (*PAGES, *TAB, *EXAMPLES):
        yield from lines(path)
    for path in SOURCES:
        yield from prose(path)


def found(texts: Iterator[Text], pattern: str) -> list[str]:
    words = re.compile(pattern, re.IGNORECASE)
    return [str(text) for text in texts if words.search(text.text)]


def of_users() -> Iterator[Text]:
    """What a user of the program meets: first pages, messages, help, the tab."""
    for path in (*FRONT, *TAB):
        yield from lines(path)
    for path in SOURCES:
        yield from (text for text in strings(path) if " " in text.text)


def test_a_rung_is_a_word_for_maintainers() -> None:
    assert found(of_users(), r"\brungs?\b") == []


def test_an_expected_overlap_is_never_usual() -> None:
    assert found(everything(), r"\busual(ly)?\b") == []


BRITISH: Final = (
    r"\w*(behaviour|colour|neighbour|favour|honour|flavour)\w*|centre[ds]?\b|\w*(normalis|optimis|recognis|organis|visualis|generalis"
    r"|summaris|initialis|minimis|maximis|regularis|serialis|parametris|quantis|materialis|tokenis)(e|ed|es|er|ing|ation)|\banalys(e|ed|er|ing)\b"
    r"|(?<!aria-)labell(ed|ing)|modell(ed|ing)|cancelled|\bgrey\b|\blicence|\bwhilst\b|\blearnt\b|\bspelt\b|\bprogramme\b|\bcatalogue\b"
)


def test_spelling_is_american_in_texts_and_names() -> None:
    texts = (text for path in (*PAGES, *TAB, *EXAMPLES, *SOURCES) for text in lines(path))
    assert found(texts, BRITISH) == []


RETIRED: Final = [
    # STYLE.md's left column, as it was here.
    r"\bpart(s|ing)?\b(?= (where|company))",
    r"probabilities part\b",
    r"what takes too long",
    r"what comes after is left",
    r"for what they add up",
    r"come[s]? into question",
    r"in question were",
    r"holds what a label has",
    r"what is odd is said",
    r"was said before",
    r"is said\b",
    r"are said\b",
    r"is told\b",
    r"\bof which\b.*\bof which\b",
    r"what that is",
    r"\bthe like of\b",
    r"\bits like\b",
    r"\blet go\b",
    r"\bon top\b",
    r"goes around it",
    r"\bworked out\b",
    r"\blooked at\b",
    r"speaks of",
    r"nobody's problem",
    r"\bwhatever\b",
    r"of its own accord",
]


@pytest.mark.parametrize("phrase", RETIRED)
def test_retired_phrases_stay_away(phrase: str) -> None:
    assert found(everything(), phrase) == []


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("the rungs of the weights", r"\brungs?\b"),
        ("the usual overlap", r"\busual(ly)?\b"),
        ("gap_behaviour", BRITISH),
        ("a centred row", BRITISH),
    ],
)
def test_such_words_would_be_found(text: str, pattern: str) -> None:
    assert found(iter([Text(ROOT / "README.md", 1, text)]), pattern)
