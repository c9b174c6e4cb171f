"""cfn-lint and checkov over template.yaml; part of `make check`. Exit status 0 when there is no finding.

cfn-lint reads it as written and as translated. checkov (security) reads it as written, offline; what it is told to pass
over stands in the resource's own metadata with the reason.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.translated_template import ROOT, SOURCE, translated


def main() -> int:
    target = ROOT / ".build" / "template.translated.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(translated(), indent=1))
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--", str(SOURCE), str(target)]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status == 0:
        print("cfn-lint: template.yaml has no finding, as written and as translated")
    found = checkov(SOURCE)
    for one in found.failed:
        print(f"checkov: {one}", file=sys.stderr)
    for one in found.idle:
        print(f"checkov: {one} is passed over, but checkov does not find it there: remove it", file=sys.stderr)
    if not found.failed and not found.idle:
        print(f"checkov: template.yaml has no finding; {len(found.skipped)} are passed over with their reason")
    return status or int(bool(found.failed or found.idle))


@dataclass(frozen=True, slots=True)
class Found:
    """What checkov found, each as `check of resource`; `idle` are suppressions without a finding behind them."""

    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    idle: tuple[str, ...]


def checkov(template: Path) -> Found:
    """What it finds in every resource, made or not by the parameters' defaults."""
    with TemporaryDirectory() as folder:
        whole = Path(folder) / template.name
        # checkov passes over what a default switches off, as the heartbeat is by HeartbeatMinutes 0.
        whole.write_text(unconditional(template.read_text()))
        command = [str(ROOT / ".venv-audit" / "bin" / "checkov"), "--file", str(whole), "--framework", "cloudformation"]
        # Nothing is asked of its makers' service: the checks are those of the locked version.
        command += ["--skip-download", "--output", "json", "--compact"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"checkov ended with status {done.returncode}: {done.stderr[-2000:]}")
    told = json.loads(done.stdout)["results"]
    if told["parsing_errors"]:
        raise RuntimeError(f"checkov cannot read {told['parsing_errors']}")
    skipped = _named(told["skipped_checks"])
    return Found(_named(told["failed_checks"]), skipped, tuple(sorted(suppressed(template) - set(skipped))))


def unconditional(text: str) -> str:
    """The template with every resource in it, whatever the parameters say."""
    return re.sub(r"^    Condition: [A-Za-z0-9]+\n", "", text, flags=re.MULTILINE)


def _named(checks: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted(f"{check['check_id']} of {check['resource'].rpartition('.')[2]}" for check in checks))


def suppressed(template: Path) -> set[str]:
    """What the template tells checkov to pass over. Raises ValueError where a reason is missing."""
    text, found = template.read_text(), set()
    name = ""
    for line in text.splitlines():
        if re.match(r"  [A-Za-z0-9]+:$", line):
            name = line.strip(" :")
        if skip := re.search(r"\{id: (CKV[A-Z0-9_]+), comment: \"([^\"]*)\"\}", line):
            if len(skip[2]) < 20:
                raise ValueError(f"{skip[1]} of {name} is passed over without a reason")
            found.add(f"{skip[1]} of {name}")
    return found


if __name__ == "__main__":
    sys.exit(main())
