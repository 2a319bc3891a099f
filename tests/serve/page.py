"""What a page looks like to those who open it: page.py URL FOLDER WORD...

Opens it in headless Chromium, on a desk in the light and on a phone in the dark, until its text has all the words (digits
without separators) and a plot, and then for as long as it takes to see it update itself. Prints what was seen as JSON, a
member for each, and leaves a picture of each in the folder.
"""

import base64
import contextlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

from websockets.sync.client import connect

VIEWS = {"desk": (1280, 900, "light"), "phone": (360, 740, "dark")}
WORDS_MAX_S = 20
UPDATES_MAX_S = 12

LOOK = """(() => {
  if (!document.body) return JSON.stringify({ text: '', plots: 0 });
  const shown = [...document.querySelectorAll('svg, canvas, img')].map(e => e.getBoundingClientRect());
  return JSON.stringify({
    text: document.body.innerText,
    plots: shown.filter(r => r.width > 150 && r.height > 60).length,
    is_too_wide: document.documentElement.scrollWidth > innerWidth,
    background: getComputedStyle(document.body).backgroundColor,
  });
})()"""


class Browser:
    def __init__(self, folder, ends):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or sys.exit("error: chromium is missing")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        self.process = subprocess.Popen([program, *flags, "about:blank"], stderr=subprocess.PIPE, text=True)
        address = next(line for line in self.process.stderr if "DevTools listening on" in line).split()[-1]
        ends.callback(self.process.wait)
        ends.callback(self.process.terminate)
        self.socket = ends.enter_context(connect(address, max_size=None))
        self.calls, self.events = 0, []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=30))
            if answer.get("id") == self.calls:
                if "error" in answer:
                    sys.exit(f"error: {method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def look(self):
        return json.loads(self.call("Runtime.evaluate", expression=LOOK)["result"]["value"])


def errors(events):
    for event in events:
        method, of = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = of["exceptionDetails"]
            yield details.get("exception", {}).get("description") or details["text"]
        elif method == "Runtime.consoleAPICalled" and of["type"] in ("error", "assert", "warning"):
            yield " ".join(str(argument.get("value", argument.get("description"))) for argument in of["args"])
        elif method == "Log.entryAdded" and of["entry"]["level"] in ("error", "warning"):
            yield f"{of['entry']['text']} {of['entry'].get('url', '')}"


def requests(events):
    return [event["params"]["request"]["url"] for event in events if event.get("method") == "Network.requestWillBeSent"]


def different_lines(png):
    """How many different lines of pixels a picture has; one that is blank has one or two."""
    width, height = struct.unpack(">II", png[16:24])
    at, packed = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        packed += png[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    pixels = zlib.decompress(packed)
    line = len(pixels) // height
    return len({pixels[row * line : (row + 1) * line] for row in range(height)})


def plain(text):
    return "".join(character for character in text if character not in ",'\u2019\u202f\u00a0\u2009")


def see(browser, url, words, view):
    width, height, scheme = VIEWS[view]
    browser.events.clear()
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=view == "phone")
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Page.navigate", url=url)
    began = time.monotonic()
    while True:
        seen = browser.look()
        seen["missing"] = [word for word in words if word not in plain(seen["text"])]
        if not seen["missing"] and seen["plots"] or time.monotonic() - began > WORDS_MAX_S:
            break
        time.sleep(0.1)
    asked = lambda: sum("/v1/" in request for request in requests(browser.events))
    first, began = asked(), time.monotonic()
    while asked() <= first and time.monotonic() - began < UPDATES_MAX_S:
        time.sleep(0.2)
        browser.look()
    picture = base64.b64decode(browser.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])
    with open(f"{sys.argv[2]}/{view}.png", "wb") as file:
        file.write(picture)
    origin = "/".join(url.split("/")[:3]) + "/"
    foreign = [url for url in requests(browser.events) if not url.startswith((origin, "data:", "blob:"))]
    errors_seen = list(errors(browser.events))
    return seen | {"lines": different_lines(picture), "errors": errors_seen, "updates": asked() - first, "foreign": foreign}


def main():
    with contextlib.ExitStack() as ends:
        folder = ends.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        browser = Browser(folder, ends)
        print(json.dumps({view: see(browser, sys.argv[1], sys.argv[3:], view) for view in VIEWS}))


if __name__ == "__main__":
    main()
