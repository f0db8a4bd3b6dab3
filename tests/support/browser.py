"""A headless Chromium, driven over the pipe of its DevTools protocol, which needs no further package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page of a browser.

    Args:
        folder: for its profile.
    """

    def __init__(self, folder: Path):
        assert PROGRAM is not None, "No Chromium is installed: install it, or leave out the tests marked browser."
        (ours_in, theirs_out), (theirs_in, ours_out) = os.pipe(), os.pipe()
        command = f"exec '{PROGRAM}' --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage"
        command += f" --remote-debugging-pipe --user-data-dir='{folder}' about:blank 3<&{theirs_in} 4>&{theirs_out}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=(theirs_in, theirs_out), **quiet)
        os.close(theirs_in)
        os.close(theirs_out)
        self.answers, self.asks = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self.count, self.session = 0, {}
        pages = self.ask("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in pages if one["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=page, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}

    def ask(self, method: str, **values: Any) -> dict[str, Any]:
        """The result of one method of the protocol."""
        self.count += 1
        self.asks.write(
            json.dumps({"id": self.count, "method": method, "params": values, **self.session}).encode() + b"\0"
        )
        self.asks.flush()
        while True:
            text = bytearray()
            while (byte := self.answers.read(1)) != b"\0":
                assert byte, "The browser has ended."
                text += byte
            answer = json.loads(text)
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, address: str) -> None:
        """Go to a page."""
        self.ask("Page.navigate", url=address)

    def run(self, code: str) -> Any:
        """The value of JavaScript in the page."""
        found = self.ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, code: str, seconds: float = 60) -> Any:
        """The value of JavaScript as soon as it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(code):
                return value
            time.sleep(0.1)
        raise AssertionError(f"{code} did not become true; the page is {self.run('document.body.innerText')!r}")

    def type(self, selector: str, text: str) -> None:
        """Type a text into a field."""
        self.run(f"document.querySelector({selector!r}).focus()")
        self.ask("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Press a button."""
        self.run(f"document.querySelector({selector!r}).click()")

    def upload(self, selector: str, path: Path) -> None:
        """Choose a file."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def close(self) -> None:
        """End the browser."""
        self.process.kill()
        self.process.wait()
        self.asks.close()
        self.answers.close()
