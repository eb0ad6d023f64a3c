"""A user of Eaglebox: cookies, CSRF tokens and pages, over aiohttp."""
import asyncio
import dataclasses
import re
import time
from http.cookies import SimpleCookie

import aiohttp

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
TIMEOUT_S = 60


@dataclasses.dataclass
class Answer:
    """status None: there was no answer, `error` says why. `ms` is how long the user waited."""

    status: int | None
    location: str = ""
    body: bytes = b""
    error: str = ""
    ms: float = 0.0
    expected: tuple = ()  # further statuses that are no failure here

    def failed(self):
        return self.status is None or not (200 <= self.status < 400 or self.status in self.expected)

    def to_login(self):
        return self.status in (301, 302, 303) and "/login" in self.location

    def token(self):
        found = TOKEN.search(self.body.decode("utf-8", "replace"))
        return found[1] if found else ""


class Browser:
    """One browser of one user. Cookies are kept by hand: what the server deletes is gone at once."""

    def __init__(self, http, base, host, observe):
        self._http, self._base, self._host, self._observe = http, base, host, observe
        self.cookies = {}

    async def request(self, kind, method, path, waited_from=None, expected=(), **options):
        """Sends one request; `observe(kind, method, path, answer)` sees every answer."""
        begin = waited_from or time.monotonic()
        headers = {"Host": self._host, "Referer": f"{self._base}{path}",
                   "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        try:
            async with self._http.request(method, self._base + path, headers=headers, allow_redirects=False,
                                          **options) as response:
                answer = Answer(response.status, response.headers.get("Location", ""), await response.read())
                self._keep_cookies(response)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            answer = Answer(None, error=f"{type(error).__name__}: {error}")
        answer.ms, answer.expected = (time.monotonic() - begin) * 1000, expected
        self._observe(kind, method, path, answer)
        return answer

    def _keep_cookies(self, response):
        for line in response.headers.getall("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value

    async def log_in(self, user, password):
        form = await self.request("login form", "GET", "/login")
        if form.failed():
            return False
        data = {"username": user, "password": password, "csrfmiddlewaretoken": form.token()}
        answer = await self.request("login", "POST", "/login", data=data)
        return answer.status == 302 and "sessionid" in self.cookies

    async def upload(self, fields, name, content, waited_from=None, expected=()):
        """Returns (answer, whether the document was sent): without a form it is not."""
        form = await self.request("upload form", "GET", "/upload", waited_from)
        if form.status != 200:
            return form, False
        data = aiohttp.FormData({**fields, "csrfmiddlewaretoken": form.token()})
        data.add_field("file", content, filename=name, content_type="text/plain")
        return await self.request("upload", "POST", "/upload", expected=expected, data=data), True


def open_http():
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=10)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(),
                                 timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
