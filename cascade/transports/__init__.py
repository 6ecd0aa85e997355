"""How models are reached: one seam, two ways behind it."""

from __future__ import annotations

from cascade.asks import Call, Stream
from cascade.transports.direct import DirectTransport
from cascade.transports.hosted import LiteLLMTransport
from cascade.transports.reading import read
from cascade.types import Draft

__all__ = ["DirectTransport", "LiteLLMTransport", "Transports", "read"]


class Transports:
    """Sends each call its way: to the endpoint's own ``base_url``, else through litellm."""

    def __init__(self) -> None:
        self._direct = DirectTransport()
        self._hosted = LiteLLMTransport()

    async def complete(self, call: Call) -> Draft:
        """The whole answer. Raises ``UpstreamError`` or ``ConfigError``."""
        return await self._way(call).complete(call)

    def stream(self, call: Call) -> Stream:
        """The answer as it arrives; errors come while iterating."""
        return self._way(call).stream(call)

    async def close(self) -> None:
        """Give back the running loop's connections; the next call opens new ones."""
        await self._direct.close()
        await self._hosted.close()

    def _way(self, call: Call) -> DirectTransport | LiteLLMTransport:
        return self._direct if call.endpoint.base_url else self._hosted
