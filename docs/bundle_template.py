"""The template for `databricks bundle init`, made from the bundle itself: the jobs of both cannot differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

BUNDLE: Final = "spark/databricks.yml"
FOLDER: Final = "spark/bundle_template"

_QUESTIONS: Final[dict[str, dict[str, Any]]] = {
    "project_name": {
        "description": "Name of the bundle, and of the folder that is made for it",
        "default": "lakebound",
        "pattern": "^[A-Za-z0-9_-]+$",
        "pattern_match_failure_message": "A name has letters, digits, _ and - only",
    },
    "source_table": {
        "description": "The DynamoDB table",
        "pattern": "^[A-Za-z0-9_.-]{3,255}$",
        "pattern_match_failure_message": "DynamoDB takes 3 to 255 letters, digits, _, . and - in a table's name",
    },
    "data": {
        "description": "The data prefix, s3://<bucket>/<S3_PREFIX> (the stack's output MergeSource)",
        "pattern": "^s3a?://[^/]+/.+$",
        "pattern_match_failure_message": "Give an address such as s3://bucket/ddb/cars",
    },
    "aside": {
        "description": "The folder of what is not data, s3://<bucket>/_lakebound/<table>",
        "pattern": "^s3a?://[^/]+/.+$",
        "pattern_match_failure_message": "Give an address such as s3://bucket/_lakebound/cars",
    },
    "catalog": {"description": "Unity Catalog's catalog of the tables", "default": "main"},
    "schema": {"description": "Its schema", "default": "lakebound"},
    "table": {
        "description": "Name of the silver table; Unity Catalog takes no dot, space or slash in it",
        # Go's own template language, in which a template answers a question from the answers before it.
        "default": "{{ (regexp `[. /]`).ReplaceAllString .source_table `_` }}",
        # The longest name that is made of it ends in `_bronze_bad_lines`, and Unity Catalog takes 255 characters.
        "pattern": "^[^. /]{1,238}$",
        "pattern_match_failure_message": "Give up to 238 characters without a dot, space or slash, for Unity Catalog",
    },
    "notify": {"description": "Address that is told when a job fails", "default": "nobody@example.com"},
}

_SCHEMA: Final = {
    "welcome_message": "\nLakebound keeps Delta tables equal to a DynamoDB table.",
    "min_databricks_cli_version": "v0.236.0",
    "success_message": (
        "\nCopy Lakebound's wheel (lakebound-*.whl) into {{.project_name}}/dist, put lake.yaml into the volume config, "
        "and deploy:\n  cd {{.project_name}}\n  databricks bundle deploy -t dev\n"
    ),
}

_README: Final = """# {{.project_name}}

Lakebound's jobs for the DynamoDB table {{.source_table}}, as a Databricks bundle. Before you deploy it:

1. Copy Lakebound's wheel, `lakebound-*.whl`, into `dist/`.
2. Make the volumes `config` and `checkpoints` in `{{.catalog}}.{{.schema}}`, and put `lake.yaml` into `config`.
3. `databricks bundle deploy -t dev`, and `-t prod` when that has gone well. `-t classic` takes clusters in place of
   serverless compute.
"""


def files(root: Path) -> dict[str, str]:
    """What each file of the template has to hold, by its path from the root."""
    schema = {
        name: {"type": "string", **question, "order": at} for at, (name, question) in enumerate(_QUESTIONS.items())
    }
    document = {"properties": schema, **_SCHEMA}
    project = f"{FOLDER}/template/{{{{.project_name}}}}"
    return {
        f"{FOLDER}/databricks_template_schema.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        f"{project}/databricks.yml.tmpl": template((root / BUNDLE).read_text("utf-8")),
        f"{project}/README.md.tmpl": _README,
        f"{project}/dist/.gitkeep": "",
    }


def template(bundle: str) -> str:
    """The bundle with the answers in place of its defaults, and with a wheel that lies beside it."""
    # What Databricks itself replaces when a job runs is no expression of the template.
    text = bundle.replace("{{job.parameters.run}}", '{{"{{job.parameters.run}}"}}')
    text = _replaced(r"\A(?:#.*\n)+", "# Lakebound's jobs on Databricks, made by `databricks bundle init`.\n", text)
    text = _replaced(r"^artifacts:\n(?:  .*\n)+\n", "", text)
    # The template's wheel lies in the bundle's own folder, so an earlier command takes it too.
    version = r"(?:  #.*\n)+  databricks_cli_version: .*\n"
    text = _replaced(rf"^bundle:\n  name: lakebound\n{version}", "bundle:\n  name: {{.project_name}}\n", text)
    text = text.replace("../dist/*.whl", "./dist/*.whl").replace(".bundle/lakebound/", ".bundle/{{.project_name}}/")
    for name in _QUESTIONS:
        if name != "project_name":
            variable = rf"(^  {name}:\n    description: .*\n)(?:    default: .*\n)?"
            text = _replaced(variable, rf'\g<1>    default: "{{{{.{name}}}}}"\n', text)
    return text


def _replaced(pattern: str, by: str, text: str) -> str:
    changed, count = re.subn(pattern, by, text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"{BUNDLE} has {count} places like {pattern}; one is expected")
    return changed


def stale(root: Path) -> list[Path]:
    """The files of the template that are not as they have to be."""
    wanted = files(root)
    there = {path.relative_to(root).as_posix() for path in (root / FOLDER).rglob("*") if path.is_file()}
    wrong = [
        root / name for name, text in wanted.items() if name not in there or (root / name).read_text("utf-8") != text
    ]
    return wrong + [root / name for name in sorted(there - wanted.keys())]


def write(root: Path) -> None:
    """Make the template anew."""
    for path in stale(root):
        text = files(root).get(path.relative_to(root).as_posix())
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
