"""Lakebound for the AWS CDK: the packaged template of a release as a nested stack."""

from lakebound_cdk.construct import Lakebound

__all__ = ["Lakebound"]
