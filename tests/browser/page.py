"""One page in Chromium: a person's actions, and what the page shows."""

import base64
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chromium import Chromium

# Only a failing test waits this long.
_PATIENCE_SECONDS = 60.0
_KEYS = {
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Space": {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
}
# Each text with its WCAG 2.2 contrast to the first opaque background behind it.
_CONTRASTS = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = color => rgba(color).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (rgba(color)[3] === 255) return color;
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? '#121212' : '#ffffff';
  };
  return [...document.querySelectorAll('h1, p, button')].map(node => {
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
    return [node.textContent.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
})()
"""


class Page:
    """Made by `Chromium.page()`. A method that navigates returns when the page has loaded."""

    def __init__(self, browser: "Chromium", session: str, width: int, height: int) -> None:
        self._browser = browser
        self._session = session
        self._loaders = set[str]()
        for domain in ("Page", "Network", "Log"):
            self._call(f"{domain}.enable")
        self._call("Page.setLifecycleEventsEnabled", enabled=True)
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < height
        )

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def _loaded(self) -> None:
        """Wait until the next document has loaded. Each counts once, and the blank page of a new tab never does."""
        while True:
            event = self._browser.wait_for("Page.lifecycleEvent", self._session)
            loader = event["loaderId"]
            if event["name"] == "load" and loader not in self._loaders and loader == self._loader():
                self._loaders.add(loader)
                return

    def _loader(self) -> str:
        """The ID of the document that is shown."""
        loader: str = self._call("Page.getFrameTree")["frameTree"]["frame"]["loaderId"]
        return loader

    def without_scripts(self) -> None:
        self._call("Emulation.setScriptExecutionDisabled", value=True)

    def dark(self) -> None:
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def speak(self, language: str) -> None:
        """The language that the person prefers."""
        self._call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})

    def open(self, url: str) -> None:
        loader = self._call("Page.navigate", url=url)["loaderId"]
        while loader not in self._loaders:
            self._loaded()

    def reload(self) -> None:
        self._call("Page.reload")
        self._loaded()

    def back(self) -> None:
        history = self._call("Page.getNavigationHistory")
        self._call("Page.navigateToHistoryEntry", entryId=history["entries"][history["currentIndex"] - 1]["id"])
        self._loaded()

    def press_button(self, selector: str = "button") -> None:
        """Click the middle of the button with the mouse."""
        x, y, width, height = self.box(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent",
                type=kind, x=x + width / 2, y=y + height / 2, button="left", clickCount=1,
            )  # fmt: skip
        self._loaded()

    def press_key(self, name: str) -> None:
        self._call("Input.dispatchKeyEvent", type="keyDown", **_KEYS[name])
        self._call("Input.dispatchKeyEvent", type="keyUp", **_KEYS[name])

    def press_enter_to_go_on(self) -> None:
        self.press_key("Enter")
        self._loaded()

    def type_text(self, text: str) -> None:
        """Into what has the focus."""
        self._call("Input.insertText", text=text)

    def wait_until(self, expression: str) -> None:
        """Until a JavaScript expression is true, without loading the page."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"{expression} was never true: {self.console_messages()}")
            time.sleep(0.05)

    def tab_to(self, selector: str, *, at_most: int = 80) -> None:
        """Press Tab until an element that matches has the focus."""
        for _ in range(at_most):
            self.press_key("Tab")
            if self.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"{at_most} times Tab did not reach {selector}")

    def resize(self, width: int, height: int, *, zoom: float = 1) -> None:
        """`zoom` 2 is a browser's 200 %: half as many CSS pixels on the same screen."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=int(width / zoom), height=int(height / zoom), deviceScaleFactor=zoom, mobile=False,
        )  # fmt: skip

    def set_cookie(self, url: str, name: str, value: str) -> None:
        self._call("Network.setCookie", url=url, name=name, value=value)

    def cookies(self, url: str) -> list[dict[str, Any]]:
        """Those that would be sent there, also those that no script sees."""
        found: list[dict[str, Any]] = self._call("Network.getCookies", urls=[url])["cookies"]
        return found

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width, height in CSS pixels, from the layout; needs no script."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, f"the page has no {selector}"
        left, top, right, _, _, bottom, *_ = self._call("DOM.getBoxModel", nodeId=node)["model"]["border"]
        return left, top, right - left, bottom - top

    def roles(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader announces, in its order."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
        ]

    def headings(self) -> list[str]:
        return [name for role, name in self.roles() if role == "heading"]

    def buttons(self) -> list[str]:
        return [name for role, name in self.roles() if role == "button"]

    def answer(self) -> tuple[int, dict[str, str]]:
        """Status and headers (lower-case names) of the newest document."""
        responses = self._browser.take("Network.responseReceived", self._session)
        response = [event for event in responses if event["type"] == "Document"][-1]["response"]
        return response["status"], {name.lower(): value for name, value in response["headers"].items()}

    def console_messages(self) -> list[str]:
        """What the browser wrote to its console, such as violations of the content security policy."""
        return [event["entry"]["text"] for event in self._browser.take("Log.entryAdded", self._session)]

    def hear_scripts(self) -> None:
        """Before `open`: from now on `script_errors` knows what scripts complain of."""
        self._call("Runtime.enable")

    def script_errors(self) -> list[Any]:
        """Exceptions that no script caught, and calls of `console.error` and `console.warn`."""
        logged = self._browser.take("Runtime.consoleAPICalled", self._session)
        thrown = self._browser.take("Runtime.exceptionThrown", self._session)
        return thrown + [call["args"] for call in logged if call["type"] in {"error", "warning"}]

    def contrasts(self) -> list[tuple[str, float]]:
        return [(text, ratio) for text, ratio in self.evaluate(_CONTRASTS)]

    def screenshot(self) -> bytes:
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def full_screenshot(self, *, highest: int) -> bytes:
        """The page from its top, also what is below the screen."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], highest), "scale": 1}
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])
