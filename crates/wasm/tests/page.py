"""Uses the page in Chromium as a visitor would.

`python page.py version` prints Playwright's version; `python page.py FOLDER`
serves the folder, draws digits on the page, and trains the network. The variable
CHROMIUM may name the browser.
"""

import functools
import http.server
import json
import os
import shutil
import sys
import threading
from importlib.metadata import version

from playwright.sync_api import sync_playwright

# Strokes on a canvas of 280 × 280.
DIGITS = {
    0: [
        [(140, 50), (90, 80), (80, 140), (90, 200), (140, 230)]
        + [(190, 200), (200, 140), (190, 80), (140, 50)]
    ],
    1: [[(145, 50), (140, 110), (135, 170), (130, 230)]],
    7: [[(80, 60), (140, 60), (200, 60), (170, 120), (140, 180), (120, 230)]],
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def draw(page, strokes):
    box = page.locator("#digit").bounding_box()
    for stroke in strokes:
        for index, (x, y) in enumerate(stroke):
            page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
            if index == 0:
                page.mouse.down()
        page.mouse.up()


def main(folder):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.wait_for_function("document.getElementById('digit-status').textContent !== ''")
        for digit, strokes in DIGITS.items():
            page.click("#clear")
            draw(page, strokes)
            page.wait_for_function("document.body.dataset.digit !== undefined")
            found = page.evaluate("Number(document.body.dataset.digit)")
            print(f"drew {digit}, read {found}, in {page.text_content('#time')}")
            if found != digit:
                problems.append(f"read {found} for {digit}")
        page.click("#train")
        page.wait_for_function("document.body.dataset.trained !== undefined", timeout=120_000)
        accuracy = page.evaluate("Number(document.body.dataset.accuracy)")
        print(page.text_content("#train-status"))
        if accuracy < 0.95:
            problems.append(f"an accuracy of {accuracy}")
        browser.close()
    server.shutdown()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1] == "version":
        print(json.dumps({"version": version("playwright")}))
    else:
        sys.exit(main(sys.argv[1]))
