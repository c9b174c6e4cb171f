"""Every stack of the account and region that bears our tag."""

from __future__ import annotations

from typing import Any, Final

from lakebound.adapters.aws_calls import call

STACK_TAG: Final = "lakebound:stack"
"""The tag of each stack's functions stream_ingest and flusher. Its value is the stack's name (template.yaml)."""

_MOST_A_PAGE: Final = 100
"""The most that GetResources takes (its service model)."""


def tagged_stacks(client: Any) -> list[str]:
    """The names, sorted, by GetResources of the Resource Groups Tagging API: a call for each fifty stacks.

    DescribeStacks without a name would tell them too, but needs the right to read parameters and outputs of every stack
    of the account, and a call for each page of all those stacks. A tag that was put or a function that was deleted a
    moment ago may not be known yet. Raises LakeboundError.
    """
    names: set[str] = set()
    token = ""
    while True:
        answer = call(
            client,
            "get_resources",
            "resources with our tag",
            TagFilters=[{"Key": STACK_TAG}],
            ResourceTypeFilters=["lambda:function"],
            ResourcesPerPage=_MOST_A_PAGE,
            PaginationToken=token,
        )
        for resource in answer.get("ResourceTagMappingList") or ():
            names |= {tag["Value"] for tag in resource.get("Tags") or () if tag["Key"] == STACK_TAG}
        # The last page has an empty token, as the service's model says.
        token = answer.get("PaginationToken") or ""
        if not token:
            return sorted(names)
