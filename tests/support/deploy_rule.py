"""The rule `make deploy` itself, in a folder of its own, with a SAM CLI that only writes down how it was called."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "from lakebound.cli.entry import main; main()"
SAM_PYTHON = ROOT / ".venv-sam" / "bin" / "python"

STUB = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
config = Path("samconfig.toml")
names = ("LAKEBOUND_RUNTIME", "LAKEBOUND_ARCHITECTURE", "LAKEBOUND_FILE_FORMAT", "LAKEBOUND_VERIFY", "MAKEFLAGS")
call = {{
    "argv": sys.argv[1:],
    "samconfig": config.read_text() if config.exists() else None,
    "environment": {{name: os.environ[name] for name in names if name in os.environ}},
}}
with open("calls.jsonl", "a") as log:
    log.write(json.dumps(call) + "\\n")
if os.environ.get("STUB_WRITES"):
    config.write_text("version = 0.1\\n[default.deploy.parameters]\\nstack_name = 'half'\\n")
sys.exit(int(os.environ.get("STUB_" + sys.argv[1].upper(), "0")))
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How `make deploy` ended, what it said, and each call of SAM."""

    status: int
    said: str
    calls: list[dict[str, Any]]
    samconfig: str

    @property
    def deployed(self) -> dict[str, str]:
        """The parameters as the real SAM reads them out of the arguments of `sam deploy`."""
        (argv,) = [call["argv"] for call in self.calls if call["argv"][0] == "deploy"]
        start = argv.index("--parameter-overrides") + 1
        end = next((at for at in range(start, len(argv)) if argv[at].startswith("--")), len(argv))
        return sam_reads(argv[start:end])

    @property
    def deploy_argv(self) -> list[str]:
        (argv,) = [call["argv"] for call in self.calls if call["argv"][0] == "deploy"]
        return list(argv)


def tree(folder: Path) -> Path:
    """A checkout with what the rule needs."""
    for name in ("Makefile", "template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements").mkdir()
    script(folder / "requirements" / "setup.sh", "#!/bin/sh\n")
    script(folder / ".venv" / "bin" / "lakebound", f'#!/bin/sh\nexec "{sys.executable}" -c "{COMMAND}" "$@"\n')
    script(folder / ".venv-sam" / "bin" / "sam", STUB)
    return folder


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def make(folder: Path, *variables: str, terminal: bool = False, **environment: str) -> Done:
    """Run `make deploy` there with these variables (`NAME=value`), in a terminal or without one."""
    calls = folder / "calls.jsonl"
    calls.unlink(missing_ok=True)
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "AWS_", "LAKEBOUND_"))}
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            ["make", "deploy", *variables],
            cwd=folder,
            env=clean | {"AWS_CONFIG_FILE": os.devnull} | environment,
            stdin=follower if terminal else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(leader)
        os.close(follower)
    logged = calls.read_text().splitlines() if calls.exists() else []
    config = folder / "samconfig.toml"
    text = config.read_text() if config.exists() else ""
    return Done(done.returncode, done.stdout + done.stderr, [json.loads(line) for line in logged], text)


def in_sam(code: str, document: Any) -> Any:
    """The answer of a piece of Python that runs beside SAM CLI: it finds `document`, and prints JSON."""
    whole = f"import json, sys\ndocument = json.load(sys.stdin)\n{code}"
    done = subprocess.run(
        [str(SAM_PYTHON), "-c", whole],
        cwd=ROOT / "src",
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def sam_reads(overrides: Sequence[Any]) -> dict[str, str]:
    """What SAM's own parser makes of parameter overrides."""
    code = "from samcli.cli.types import CfnParameterOverridesType as Type\n"
    found: dict[str, str] = in_sam(code + "print(json.dumps(Type().convert(tuple(document), None, None)))", overrides)
    return found


def kept_in(text: str) -> dict[str, str]:
    """The parameters that SAM finds in a samconfig.toml."""
    code = "import tomllib\nfrom samcli.cli.types import CfnParameterOverridesType as Type\n"
    code += "kept = tomllib.loads(document)['default']['deploy']['parameters']['parameter_overrides']\n"
    found: dict[str, str] = in_sam(code + "print(json.dumps(Type().convert(kept, None, None)))", text)
    return found
