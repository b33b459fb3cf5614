"""Routes of somebody else's API: what goes wrong is said in that API's form."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from impasto.errors import ImpastoError
from impasto.server.answers import ClientGone

Wrong = RequestValidationError | HTTPException | ImpastoError


class ForeignRoute(APIRoute):
    """A route whose errors have the form that `told` gives them."""

    @staticmethod
    def told(error: Wrong) -> Response:
        """Return the answer for a request that is not met because of `error`."""
        raise NotImplementedError

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except ClientGone:
                return Response(status_code=499)
            except (RequestValidationError, HTTPException, ImpastoError) as error:
                return self.told(error)

        return answered
