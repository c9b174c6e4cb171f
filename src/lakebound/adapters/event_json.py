"""The Lambda runtime parses events with orjson.

AWS's runtime for Python parses every event with simplejson, which is more than half of an invocation of stream_ingest.
It lets a function's author replace that: BaseLambdaRuntimeClient.marshaller is there "for function authors to override
the default implementation" (awslambdaric 4.2, lambda_runtime_client.py).
"""

from __future__ import annotations

from typing import Any

import orjson


def parse_events_with_orjson() -> None:
    """From the next event on. Nothing changes in a runtime without that attribute."""
    try:
        from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient
        from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
    except ImportError:
        return

    class Marshaller(LambdaMarshaller):  # type: ignore[misc]  # awslambdaric has no types
        def unmarshal_request(self, request: Any, content_type: str = "application/json") -> Any:
            if content_type == "application/json":
                try:
                    return orjson.loads(request)
                except orjson.JSONDecodeError:
                    # Half a surrogate pair: what simplejson reads and orjson does not. Both refuse NaN.
                    pass
            return super().unmarshal_request(request, content_type)

    if hasattr(BaseLambdaRuntimeClient, "marshaller"):
        BaseLambdaRuntimeClient.marshaller = Marshaller()
