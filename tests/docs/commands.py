"""Reads the commands and links that a Markdown document prints, and says what is wrong with them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from unittest import mock

from edge_tracker.errors import ConfigError
from edge_tracker.methods import AUTOMATIC, METHODS
from edge_tracker.settings import assign, names_of
from tests.conftest import ROOT

cli = importlib.import_module("edge_tracker.cli.main")  # `edge_tracker.cli.main` by name is the function

FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OPTION = re.compile(r"--[a-z][a-z0-9-]*")
SHELL_WORDS = {"do", "done", "then", "fi", "sudo"}
ROOMS = ("edge_tracker", "converters", "calibration", "scripts", "docs", "tests")
FAILED = "cannot run"
MODULES = {"calibration", "edge_tracker"}  # ours, that `python -m` runs


class Command(NamedTuple):
    """One command that a document prints."""

    words: tuple[str, ...]
    fenced: bool  # from a block: complete; else from a sentence, which may leave arguments out

    def __str__(self) -> str:
        return shlex.join(self.words)


def documents() -> list[Path]:
    """README and everything in docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> Iterator[Command]:
    """The commands of this project in `text`: those of `sh` blocks, then those quoted in sentences."""
    for _, language, block in FENCED.findall(text):
        if language == "sh":
            for words in simple_commands(block):
                if is_ours(words):
                    yield Command(words, True)
    for quoted in INLINE.findall(FENCED.sub("", text)):
        if quoted.startswith(("edge-track ", "python ", "scripts/", "converters/")):
            with contextlib.suppress(ValueError):  # an odd quotation mark: a sentence, not a command
                for words in simple_commands(quoted):
                    words = ("python", *words) if words[0].startswith("converters/") else words
                    if is_ours(words):
                        yield Command(words, False)


def simple_commands(script: str) -> Iterator[tuple[str, ...]]:
    """The commands of a shell script without what joins them; variables become 0, programs lose their folder."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(re.sub(r"\$\{?\w+\}?", "0", line), posix=True, punctuation_chars=";&|<>")
        lexer.wordchars += "=,:*@%+-~./[]{}^!?"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in (";", "&&", "||", "|", "&"):
                while words and (words[0] in SHELL_WORDS or re.fullmatch(r"[A-Z_]+=.*", words[0])):
                    words.pop(0)
                if words:
                    yield (re.sub(r".*/bin/", "", words[0]), *until_redirection(words[1:]))
                words = []
            else:
                words.append(word)


def until_redirection(words: list[str]) -> list[str]:
    return words[: next((k for k, word in enumerate(words) if set(word) <= set("<>&")), len(words))]


def is_ours(words: Sequence[str]) -> bool:
    if words[0] == "edge-track":
        return True
    if words[0].startswith("scripts/"):
        return True
    if words[0] not in ("python", "python3") or len(words) < 2:
        return False
    if words[1] == "-m":
        return len(words) > 2 and words[2] in MODULES
    return words[1].startswith(("scripts/", "converters/"))


def problem(command: Command) -> str | None:
    """What is wrong with a command, None where nothing is."""
    if command.words[0] == "edge-track" or command.words[1:3] == ("-m", "edge_tracker"):
        arguments = list(command.words[1:] if command.words[0] == "edge-track" else command.words[3:])
        return wrong_arguments(arguments, command.fenced)
    script, arguments = script_of(command)
    if script is None or not (ROOT / script).exists():
        return f"{command}: there is no {script}"
    if not command.fenced and not used_options(arguments):
        return None  # a sentence about a file or folder
    text = help_of(script)
    if text is None:
        return None  # it needs a package that is not installed here
    if text.startswith(FAILED):
        return text
    known = set(OPTION.findall(text))
    for option in used_options(arguments):
        if option not in known:
            return f"{command}: {script} has no option {option}"
    return None


def script_of(command: Command) -> tuple[str | None, list[str]]:
    if command.words[0].startswith("scripts/"):
        return command.words[0], list(command.words[1:])
    if command.words[1] == "-m":
        return f"{command.words[2]}/__main__.py", list(command.words[3:])
    script = command.words[1]
    if "TARGET" in script:  # to_TARGET.py stands for all of them: they have the same options
        script = script.replace("TARGET", "tflite")
    return script, list(command.words[2:])


def used_options(arguments: Sequence[str]) -> list[str]:
    return [match[0] for argument in arguments if (match := OPTION.match(argument))]


HIDDEN: Any = {"capture_output": True, "text": True, "timeout": 300}


@functools.cache
def help_of(script: str) -> str | None:
    """What `--help` prints, or FAILED and why; None where it needs a package that is not here."""
    if (ROOT / script).is_dir():
        return ""
    if not script.endswith(".py"):
        return (ROOT / script).read_text(encoding="utf-8")  # a shell script has no help: its text has its options
    start = ["-m", script.split("/")[0]] if script.endswith("__main__.py") else [script]
    called = [sys.executable, *start, "--help"]
    if "weight-network" in script:
        called[-1:] = ["--model", "weight-network", "--help"]
    done = subprocess.run(called, cwd=ROOT, env=this_checkout(), capture_output=True, text=True, timeout=300)
    missing = re.search(r"ModuleNotFoundError: No module named '(\w+)", done.stderr)
    of_a_converter = " not installed: in a checkout, pip install" in done.stderr
    if of_a_converter or (missing and missing[1] in packages_of_extras()):
        return None
    if done.returncode != 0:
        return f"{FAILED} {script} --help: {done.stderr.strip().splitlines()[-1]}"
    text = done.stdout
    for command in (re.search(r"\{([a-z,-]+)\} \.\.\.", text) or ["", ""])[1].split(","):
        if command:  # a command of the script has options of its own
            own = subprocess.run([*called[:-1], command, "--help"], cwd=ROOT, env=this_checkout(), **HIDDEN)
            text += own.stdout
    return text


@functools.cache
def packages_of_extras() -> set[str]:
    """What may be missing here: packages of the extras in pyproject.toml, by the names they are imported under."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [text for extra in project["optional-dependencies"].values() for text in extra]
    return {re.split(r"[\[<>=!~; ]", text)[0].replace("-", "_") for text in required} - {"edge_tracker"}


def this_checkout() -> dict[str, str]:
    """The environment in which a started Python imports this checkout, whatever is installed."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


class _Parsed(Exception):
    """The command line was accepted."""


def wrong_arguments(arguments: list[str], complete: bool) -> str | None:
    """What the parsers of edge-track have against these arguments; where not `complete`, only unknown options count."""
    shown = shlex.join(["edge-track", *arguments])
    build = cli.build_parser

    def parse_only() -> object:
        parser = build()
        parse = parser.parse_args

        def stop(given: Sequence[str]) -> NoReturn:
            raise _Parsed(parse(given))

        parser.parse_args = stop  # type: ignore[assignment]
        return parser

    said = io.StringIO()
    with mock.patch.object(cli, "build_parser", parse_only), contextlib.redirect_stderr(said):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                cli.main(arguments)
        except _Parsed as parsed:
            given = vars(parsed.args[0])
            return (
                wrong_settings(given.get("settings") or given.get("set") or [], given["tracker"] or "auto")
                if "tracker" in given
                else None
            )
        except SystemExit as left:
            if not left.code:
                return None  # --help, --version
    message = said.getvalue().strip()
    if not complete and re.search(r"required|expected (one|at least one) argument", message):
        return unknown_options(arguments, shown)
    return f"{shown}: {message}"


def unknown_options(arguments: Sequence[str], shown: str) -> str | None:
    """For a command in a sentence: options that its subcommand's help does not list."""
    command = next((a for a in arguments[:1] if not a.startswith("-")), "track")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli.main([command, "--help"])
    known = set(OPTION.findall(said.getvalue()))
    unknown = [option for option in used_options(arguments) if option not in known]
    return f"{shown}: no option {', '.join(unknown)}" if unknown else None


def wrong_settings(assignments: Sequence[str], tracker: str) -> str | None:
    """What is wrong with settings as `--set` takes them."""
    try:
        assign(METHODS[AUTOMATIC[0] if tracker == "auto" else tracker].config, assignments)
    except ConfigError as error:
        return f"--set {' '.join(assignments)} for {tracker}: {error}"
    return None


def stale_settings(text: str) -> list[str]:
    """Settings named in sentences and tables as `group.name` or `--set NAME=VALUE` that no method has."""
    known = {name for recipe in METHODS.values() for name in names_of(type(recipe.config))}
    groups = {name.split(".")[0] for name in known if "." in name}
    stale = []
    for quoted in INLINE.findall(FENCED.sub("", text)):
        for name in re.findall(r"--set ([a-z_.]+)=", quoted):
            if name not in known:
                stale.append(f"there is no setting {name}")
        dotted = re.fullmatch(r"([a-z_]+)\.[a-z_]+", quoted)
        if dotted and dotted[1] in groups and quoted not in known and not quoted.endswith((".py", ".json")):
            stale.append(f"there is no setting {quoted}")
    return stale


def missing_paths(text: str) -> list[str]:
    """Files and folders of this project named in sentences and tables that do not exist; a module by its name alone."""
    missing = []
    for quoted in INLINE.findall(FENCED.sub("", text)):
        if re.fullmatch(rf"(?:{'|'.join(ROOMS)})/[\w./-]*", quoted) and not (ROOT / quoted).exists():
            missing.append(f"there is no {quoted}")
        elif re.fullmatch(r"\w+\.py", quoted) and quoted not in module_names():
            missing.append(f"there is no module {quoted}")
    return missing


@functools.cache
def module_names() -> set[str]:
    return {path.name for room in ROOMS for path in (ROOT / room).rglob("*.py")}


def broken_links(text: str, folder: Path) -> list[str]:
    """Links to files or headings that do not exist."""
    broken = []
    for target in LINK.findall(FENCED.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = folder / path if path else None
        if file is not None and not file.exists():
            broken.append(f"no file at {target}")
        elif heading and heading not in headings(file.read_text(encoding="utf-8") if file else text):
            broken.append(f"no heading at {target}")
    return broken


def headings(text: str) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def problems(text: str, folder: Path) -> list[str]:
    """All that is wrong with the commands, settings and links of a document that lies in `folder`."""
    found = [problem(command) for command in commands(text)]
    return [p for p in found if p] + stale_settings(text) + missing_paths(text) + broken_links(text, folder)
