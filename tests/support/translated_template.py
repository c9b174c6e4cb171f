"""template.yaml as CloudFormation gets it: translated by AWS's own SAM translator, without an account or a network."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "template.yaml"


@lru_cache(maxsize=1)
def source() -> dict[str, Any]:
    """The template as written, with short tags such as `!Ref` as their long forms."""
    return _plain(cfn_yaml.load(str(SOURCE)))


@lru_cache(maxsize=1)
def translated() -> dict[str, Any]:
    """The template as CloudFormation gets it."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    template = source_with_packaged_code()
    return _plain(Translator({}, Parser()).translate(template, {}))


def source_with_packaged_code() -> dict[str, Any]:
    """The template as `sam deploy` sends it: with places in S3 instead of local folders."""
    template = json.loads(json.dumps(source()))
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri", "DefinitionUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = f"s3://artifacts/{resource['Properties'][name].strip('/')}"
    return template


def _plain(value: Any) -> Any:
    """Without the line numbers that the parser hangs on its nodes."""
    return json.loads(json.dumps(value))
