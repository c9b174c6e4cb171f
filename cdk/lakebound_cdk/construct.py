"""The construct. It adds nothing to the packaged template: what a stack of it is, `template.yaml` alone says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from aws_cdk import CfnStack, Fn, Token
from aws_cdk.aws_s3_assets import Asset
from constructs import Construct

PACKAGED: Final = "Make it with make package, or take lakebound-template-VERSION.yaml of a release"


class Lakebound(Construct):  # type: ignore[misc]  # no environment of mypy has the CDK
    """One DynamoDB table, kept as files for a Delta table.

    A nested stack, because the operator's command asks a stack for its parameters and outputs, and because two tables
    in one CDK stack then do not take each other's names. CDK uploads the template with its own assets; the code that
    the template names stays in the release's bucket, which has to be in the stack's region.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, template: str | Path, parameters: Mapping[str, str | int]
    ) -> None:
        """``template`` is a packaged template; ``parameters`` are the template's own, and tokens may stand in them.

        Raises ValueError where the file is no packaged template, or has no such parameter.
        """
        super().__init__(scope, construct_id)
        text = _packaged(Path(template))
        if unknown := sorted(set(parameters) - set(text["Parameters"])):
            raise ValueError(f"{template} has no parameter {', '.join(unknown)}. docs/SETTINGS.md lists them")
        self._outputs: Final = frozenset(text["Outputs"])
        self.stack: Final = CfnStack(
            self,
            "Stack",
            template_url=Asset(self, "Template", path=str(template)).http_url,
            parameters={name: str(value) for name, value in parameters.items()},
        )

    @property
    def stack_name(self) -> str:
        """What the operator's command takes as `--stack`; a token."""
        return str(Fn.select(1, Fn.split("/", self.stack.ref)))

    def output(self, name: str) -> str:
        """One output of the template, such as BucketName; a token. Raises ValueError where it has none of that name."""
        if name not in self._outputs:
            raise ValueError(f"The template has no output {name}, but {', '.join(sorted(self._outputs))}")
        return str(Token.as_string(self.stack.get_att(f"Outputs.{name}")))


def _packaged(template: Path) -> dict[str, Any]:
    """A template whose code is in a bucket. `sam package` writes no tags, so a plain reader of YAML is enough."""
    try:
        text = yaml.safe_load(template.read_text("utf-8"))
        places = [one["Properties"].get("CodeUri", "s3://") for one in text["Resources"].values()]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError(f"{template} is no packaged template ({type(error).__name__}). {PACKAGED}") from error
    if not all(str(place).startswith("s3://") for place in places):
        raise ValueError(f"{template} names code in a folder, not in a bucket. {PACKAGED}")
    return dict(text)
