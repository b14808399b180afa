"""The documentation's links, commands and words hold."""

import re
import subprocess
from pathlib import Path

import click
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"build", "dist", "node_modules"}


def _pages() -> list[Path]:
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        parts = path.relative_to(ROOT).parts
        if not any(part.startswith(".") or part in OUTSIDE for part in parts):
            found.append(path)
    return found


PAGES = _pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# Words that only mean something on one machine, and hosts that a mirror replaces.
FORBIDDEN = re.compile(
    r"(?<![\w.])/(?:work|tmp/v[ab]|tmp/team)/|"
    + "|".join(("py" + r"pi\.org", "pythonhosted" + r"\.org", "deb" + r"ian\.org"))
)


def _prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """A heading's anchor: lower case, punctuation gone, spaces to hyphens."""
    heads = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_there_are_pages():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/payloads.md"} <= set(NAMES)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in _anchors(goal), f"{target} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_that_a_page_names_exists(page):
    cli = pytest.importorskip("gatewayd.cli", reason="the command line is not there")
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:^|`|/)gatewayd ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", text, re.MULTILINE)
    for verb, second in named:
        command = cli.main.get_command(click.Context(cli.main), verb)
        assert command is not None, f"gatewayd {verb}"
        if isinstance(command, click.Group) and second:
            assert second in command.commands, f"gatewayd {verb} {second}"


def test_every_option_of_a_command_in_a_shell_block_exists():
    cli = pytest.importorskip("gatewayd.cli", reason="the command line is not there")
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for verb, rest in re.findall(r"^gatewayd ([a-z]+)(.*)$", block, re.MULTILINE):
                command = cli.main.get_command(click.Context(cli.main), verb)
                if isinstance(command, click.Group):
                    command = command.commands[rest.split()[0]]
                known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
                for option in re.findall(r"(?<=\s)(--?[a-z][a-z-]*)", rest):
                    assert option in known, f"{page.name}: gatewayd {verb} {option}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_script_that_a_page_names_exists(page):
    for script in re.findall(
        r"(?<![\w/])((?:tools|systemd|config)/[\w./-]*\w)", page.read_text(encoding="utf-8")
    ):
        places = (ROOT / script, ROOT / "gatewayd" / script)
        assert any(place.exists() for place in places), script


def test_the_readmes_configuration_is_valid_settings():
    settings = pytest.importorskip("gatewayd.config.settings")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    found = settings.Settings.model_validate(yaml.safe_load(block))
    assert list(found.streams["pump"].channels) == ["temperature", "vibration"]


def test_no_file_names_a_machine_or_a_registry():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git clone")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        text = path.read_bytes().decode(errors="ignore")
        found += [f"{name}: {match.group()}" for match in FORBIDDEN.finditer(text)]
    assert found == []
