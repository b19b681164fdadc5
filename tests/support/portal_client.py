"""The portal of a running product as a browser without scripts sees it."""

from __future__ import annotations

import re
from typing import Any

import httpx

from tests.support.product import Product
from tests.support.servers import wait_until

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
FINISHED = {"Succeeded", "Partial", "Failed", "Lost", "Cancelled"}


class PortalClient:
    """Signed in as the administrator."""

    def __init__(self, product: Product) -> None:
        address = f"http://127.0.0.1:{product.port + 1}"
        self._http = httpx.Client(base_url=address, timeout=60, headers={"Origin": address}, follow_redirects=True)
        self.post(
            "/sign-in/",
            form="/sign-in/",
            username="admin@ragkeep.local",
            password=(product.var / "control" / "secrets" / "admin_password").read_text().strip(),
        )

    def text(self, address: str) -> str:
        """A page; it must be one."""
        return self._http.get(address).raise_for_status().text

    def post(self, address: str, *, form: str, **fields: Any) -> httpx.Response:  # noqa: ANN401 - form fields
        """Send a form that stands on the page `form`; returns where that leads."""
        found = TOKEN.search(self.text(form))
        assert found, f"{form} has no form"
        return self._http.post(address, data={**fields, "csrfmiddlewaretoken": found[1]}).raise_for_status()

    def operation(self, address: str, *, form: str, seconds: float = 180, **fields: Any) -> str:  # noqa: ANN401
        """Start an operation with a form, and wait for its end; returns the word for how it ended."""
        place = str(self.post(address, form=form, **fields).url.path)
        assert place.startswith("/operations/"), f"no operation was started: {place}"

        def word() -> str:
            found = re.search(r'class="badge badge--\w+">.*?</svg>([\w ]+)<', self.text(place), re.DOTALL)
            return found[1] if found and found[1] in FINISHED else ""

        wait_until(lambda: bool(word()), what=f"the end of {place}", seconds=seconds)
        return word()
