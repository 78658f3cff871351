"""HTTP from a user's server to the Hub service and the Y.js server: how long it waits, and what a refusal means."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from .core.errors import ServiceError, ServiceUnavailable

_TIMEOUT_SECONDS = 10.0
# A document may take long: it is waited for as long as something of it comes within this time, or goes at this pace.
_SILENCE_SECONDS = 60.0
_SLOWEST_BYTES_A_SECOND = 500_000
_LARGEST_DOCUMENT = 2**31


async def fetch(request: HTTPRequest) -> HTTPResponse:
    """Fetch what is small.

    Raises:
        ServiceUnavailable: who is asked does not answer, or is away.
        ServiceError: it refused.
    """
    request.connect_timeout = request.request_timeout = _TIMEOUT_SECONDS
    request.follow_redirects = False
    # A client of its own: the shared one's body limit is 100 MiB, which a document may pass.
    client = AsyncHTTPClient(force_instance=True, max_body_size=_LARGEST_DOCUMENT)
    try:
        return await client.fetch(request)
    except HTTPClientError as error:
        raise _refusal(request, error) from None
    except OSError as error:
        raise ServiceUnavailable(f"{_place(request)} does not answer: {error}") from None
    finally:
        client.close()


async def fetch_slowly(request: HTTPRequest) -> bytes:
    """Fetch what may be large over a slow connection: while bytes come or go, it is waited for.

    Raises:
        ServiceUnavailable, ServiceError: as of `fetch`.
    """
    received: list[bytes] = []
    request.connect_timeout, request.request_timeout = _TIMEOUT_SECONDS, 0  # 0: none of tornado's own
    request.follow_redirects = False
    request.streaming_callback = received.append
    client = AsyncHTTPClient(force_instance=True, max_body_size=_LARGEST_DOCUMENT)
    fetching = asyncio.ensure_future(client.fetch(request))
    try:
        await _while_it_comes(fetching, received, len(request.body or b"") / _SLOWEST_BYTES_A_SECOND)
        await fetching
    except HTTPClientError as error:
        raise _refusal(request, error, b"".join(received)) from None
    except OSError as error:
        raise ServiceUnavailable(f"{_place(request)} does not answer: {error}") from None
    finally:
        fetching.cancel()
        client.close()
    return b"".join(received)


async def _while_it_comes(fetching: asyncio.Future[Any], received: list[bytes], seconds_to_send: float) -> None:
    """Wait until it is done.

    Raises:
        TimeoutError: nothing has come for a while. (It is an OSError.)
    """
    heard, patience = -1, _SILENCE_SECONDS + seconds_to_send
    while not fetching.done():
        if heard == len(received):
            raise TimeoutError(f"nothing came for {patience:.0f} s")
        heard = len(received)
        await asyncio.wait([fetching], timeout=patience)
        patience = _SILENCE_SECONDS


def _refusal(request: HTTPRequest, error: HTTPClientError, body: bytes = b"") -> ServiceError:
    detail, code = str(error.message), ""
    if error.response is not None and (body or error.response.body):
        try:
            answer = json.loads(body or error.response.body)
            detail, code = str(answer["detail"]), str(answer.get("code", ""))
        except (ValueError, KeyError, TypeError):
            pass
    # 599 is tornado's own: it timed out. The proxy says 502 to 504 while what is behind it is away.
    kind = ServiceUnavailable if error.code in (502, 503, 504, 599) else ServiceError
    return kind(f"{_place(request)}: {detail}", error.code, code, detail)


def _place(request: HTTPRequest) -> str:
    return request.url.partition("?")[0]
