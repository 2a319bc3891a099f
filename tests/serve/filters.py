"""What a page shows to those who use its controls: filters.py URL KEY ACTIONS

Opens the page in headless Chromium on a phone, with the key if it is not empty, and does one action after the other with
the keyboard alone. Actions are a list in JSON: see `act`. With `["refused"]` as the first, what is asked at first is
refused; with `["before", DIMENSION]`, the page is told of that dimension only when it asks again, a minute later, as one
that was opened before a promotion, and must come to know it; with `["versions", N]`, each total is of a further version,
and what is seen at first is of the Nth. Prints as JSON what is seen at first and after each action.
"""

import contextlib
import json
import sys
import tempfile
import time

from page import VIEWS, Browser, errors

SEEN_MAX_S = 20
OPTIONS_MAX = 20

KEYS = {"Enter": 13, "ArrowUp": 38, "ArrowDown": 40}

LOOK = """(() => {
  const at = (id) => document.getElementById(id);
  const texts = (places) => [...document.querySelectorAll(places)].map((place) => place.textContent);
  if (!at('top') || at('numbers').hidden) return JSON.stringify({ wants_key: at('keys')?.hidden === false });
  return JSON.stringify({
    address: location.search,
    title: document.title,
    status: at('status').textContent,
    clicks: at('clicks').textContent,
    filters: texts('#filter span'),
    dimensions: [...at('dimension').options].map((option) => option.value),
    version: at('version').textContent,
    learned: window.learned ?? null,
    top: [...at('top').querySelectorAll('tbody tr')].map((row) => [...row.cells].slice(0, 2).map((cell) => cell.textContent)),
    bars: texts('#picture .bar title'),
    plots: document.querySelectorAll('#picture svg').length,
    is_old: document.querySelector('.old') !== null,
    is_too_wide: document.documentElement.scrollWidth > innerWidth,
    focus: document.activeElement.id || document.activeElement.localName,
  });
})()"""


# Takes a dimension out of the first answer that says which there are, and puts the page's clock a minute ahead.
BEFORE = """(() => {
  const real = window.fetch;
  let isFirst = true;
  window.fetch = async (address, ...others) => {
    const answer = await real(address, ...others);
    if (!isFirst || !answer.ok || !String(address).startsWith('v1/dimensions')) return answer;
    isFirst = false;
    const clock = performance.now.bind(performance);
    performance.now = () => clock() + 60_000;
    const { dimensions } = await answer.json();
    return Response.json({ dimensions: dimensions.filter(({ name }) => name !== DIMENSION) });
  };
})()"""


# Gives each total a further version, and counts how often the page has been told which dimensions there are.
VERSIONS = """(() => {
  const real = window.fetch;
  let version = 0;
  window.learned = 0;
  window.fetch = async (address, ...others) => {
    const answer = await real(address, ...others);
    if (!answer.ok) return answer;
    if (String(address).startsWith('v1/dimensions')) window.learned += 1;
    if (!String(address).startsWith('v1/total')) return answer;
    version += 1;
    return Response.json({ ...await answer.json(), version });
  };
})()"""


def evaluated(browser, expression):
    return browser.call("Runtime.evaluate", expression=expression)["result"].get("value")


def press(browser, key):
    for kind in ["keyDown", "keyUp"]:
        text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key], **text)


def focus(browser, place):
    if not evaluated(browser, f"(() => {{ const place = {place}; place?.focus(); return !!place; }})()"):
        sys.exit(f"error: there is no {place}")


def pick(browser, name, value):
    """Picks an option of a list, which may be on either side of the one that is picked now."""
    place = f"document.getElementById({json.dumps(name)})"
    options = json.loads(evaluated(browser, f"JSON.stringify([...{place}.options].map((option) => option.value))"))
    for _ in range(OPTIONS_MAX):
        now = options.index(evaluated(browser, f"{place}.value"))
        if options[now] == value:
            return
        focus(browser, place)
        press(browser, "ArrowDown" if now < options.index(value) else "ArrowUp")
    sys.exit(f"error: {name} does not become {value}")


def act(browser, action):
    match action:
        case ["filter", dimension, value]:
            pick(browser, "dimension", dimension)
            focus(browser, "document.getElementById('value')")
            browser.call("Input.insertText", text=value)
            press(browser, "Enter")
        case ["pick", name, value]:
            pick(browser, name, value)
        case ["follow", label]:
            links = "[...document.querySelectorAll('a')]"
            focus(browser, f"{links}.find((one) => [one.ariaLabel, one.textContent].includes({json.dumps(label)}))")
            press(browser, "Enter")
        case ["other"]:
            focus(browser, "document.querySelector('#top tbody a:not([aria-current])')")
            press(browser, "Enter")
        case ["back"]:
            evaluated(browser, "history.back()")
        case ["share"]:
            link = evaluated(browser, "location.href")
            browser.call("Page.navigate", url="about:blank")
            browser.call("Page.navigate", url=link)


def seen(browser, is_it):
    began = time.monotonic()
    while time.monotonic() - began < SEEN_MAX_S:
        look = json.loads(evaluated(browser, LOOK) or "{}")
        if is_it(look):
            return look
        time.sleep(0.05)
    sys.exit(f"error: it is not seen: {look}")


def is_told(look):
    return look.get("clicks", "–") != "–" and look["top"] and look["plots"] and not look["is_old"]


def nameless(browser):
    """Controls of which a screen reader could not say what they are for."""
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"combobox", "textbox", "button", "link", "radio", "list", "navigation", "form", "table"}
    shown = [node for node in nodes if not node.get("ignored") and node.get("role", {}).get("value") in roles]
    return [node["role"]["value"] for node in shown if not node.get("name", {}).get("value")]


def main():
    url, key, actions = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    with contextlib.ExitStack() as ends:
        browser = Browser(ends.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)), ends)
        width, height, _ = VIEWS["phone"]
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)
        first = actions[0] if actions and actions[0][0] in ("refused", "before", "versions") else [None]
        if first[0] in ("before", "versions"):
            source = VERSIONS if first[0] == "versions" else BEFORE.replace("DIMENSION", json.dumps(first[1]))
            browser.call("Page.addScriptToEvaluateOnNewDocument", source=source)
        browser.call("Page.navigate", url=url)
        if key:
            seen(browser, lambda look: look.get("wants_key"))
            browser.events.clear()  # The refusal without a key is an error to the console.
            focus(browser, "document.getElementById('key')")
            browser.call("Input.insertText", text=key)
            press(browser, "Enter")
        is_first = {
            "refused": lambda look: look.get("status"),
            "before": lambda look: is_told(look) and first[1] in look["dimensions"],
            "versions": lambda look: is_told(look) and look["version"] == f"version {first[1]}",
        }.get(first[0], is_told)
        all_seen = [seen(browser, is_first)]
        for action in actions[first != [None]:]:
            act(browser, action)
            before = None if action == ["share"] else all_seen[-1]["address"]
            all_seen.append(seen(browser, lambda look: is_told(look) and look["address"] != before))
        print(json.dumps({"seen": all_seen, "nameless": nameless(browser), "errors": list(errors(browser.events))}))


main()
