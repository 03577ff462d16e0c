"""A client of the local API of a running node, on the standard library alone.

It finds the node by its home: `data/api.json` says where it listens, `api.token` lets us in.
"""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast
from urllib.parse import quote, urlencode, urlsplit

from p2p.api.values import Json, Row
from p2p.node.errors import UserError
from p2p.node.home import Home

TIMEOUT_S: Final = 30.0
"""For the first byte of an answer, and between two lines; heartbeats come twice as often."""


class ApiError(UserError):
    """The node's own sentence about why it did not do it; `status` is HTTP's."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class ApiClient:
    """Asks one node."""

    def __init__(self, home: Path) -> None:
        """Find the node. Raises UserError when it is not running."""
        self._home = Home(home)
        address = self._home.read_api_address()
        if address is None:
            raise UserError(self._not_running())
        parts = urlsplit(address.url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._token = self._home.read_token()

    def get(self, path: str, **query: str | int) -> Json:
        """The answer to a GET. Raises UserError."""
        asked = f"{path}?{urlencode(query)}" if query else path
        return self._answer("GET", asked, None)

    def post(self, path: str, body: Row, *, timeout_s: float = TIMEOUT_S) -> Json:
        """The answer to a POST. Raises UserError."""
        return self._answer("POST", path, body, timeout_s=timeout_s)

    def lines(self, method: str, path: str, body: Row | None = None) -> Iterator[Row]:
        """The lines of an answer that goes on, as they come. Raises UserError, also half way."""
        connection, response = self._request(method, path, body, TIMEOUT_S)
        try:
            while line := response.readline():
                if not line.strip():
                    continue
                item = _decoded(line)
                if not isinstance(item, dict):
                    raise ApiError(response.status, "the node sent a line that is no object")
                if "error" in item:
                    raise ApiError(response.status, str(item["error"]))
                yield item
        except (OSError, http.client.HTTPException):
            raise ApiError(502, "the node stopped in the middle of its answer") from None
        finally:
            connection.close()

    def _answer(
        self, method: str, path: str, body: Row | None, *, timeout_s: float = TIMEOUT_S
    ) -> Json:
        connection, response = self._request(method, path, body, timeout_s)
        try:
            return _decoded(response.read())
        except (OSError, http.client.HTTPException):
            raise ApiError(502, "the node stopped in the middle of its answer") from None
        finally:
            connection.close()

    def _request(
        self, method: str, path: str, body: Row | None, timeout_s: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        headers = {"Authorization": f"Bearer {self._token}"}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, quote(path, safe="/?=&%"), body=data, headers=headers)
            response = connection.getresponse()
        except ConnectionRefusedError:
            connection.close()
            raise UserError(self._not_running()) from None
        except TimeoutError:
            connection.close()
            raise UserError(f"the node did not answer within {timeout_s:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UserError(f"the node broke off the connection ({error})") from None
        if response.status >= 400:
            answer = _decoded(response.read())
            connection.close()
            if isinstance(answer, dict) and "error" in answer:
                raise ApiError(response.status, str(answer["error"]))
            if response.status == 503:  # the health page: an answer, though a bad one
                raise ApiError(503, json.dumps(answer))
            raise ApiError(response.status, f"the node failed ({response.status}): see its log")
        return connection, response

    def _not_running(self) -> str:
        return f"node is not running: start it with `p2p start --home {self._home.path}`"


def _decoded(data: bytes) -> Json:
    try:
        return cast(Json, json.loads(data))
    except ValueError:
        return None
