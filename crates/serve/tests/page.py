"""Uses the page of a server in Chromium, as a person would.

`python page.py version` prints Playwright's version; `python page.py URL
[FOLDER]` uses the page and writes pictures of it to the folder. The test `page`
of this folder starts the server with the models that are named here.
"""

import json
import os
import struct
import sys
import zlib

from playwright.sync_api import sync_playwright


def png(width, height):
    """A picture with a bright square."""
    rows = b""
    for y in range(height):
        for x in range(width):
            bright = height < 4 * y < 3 * height and width < 4 * x < 3 * width
            rows += (b"" if x else b"\0") + (b"\xff\xc8\x50" if bright else b"\x30\x38\x50")

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def use(url, folder=None):
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        options = {"executable_path": chromium} if os.path.exists(chromium) else {}
        browser = playwright.chromium.launch(args=["--no-sandbox"], **options)
        page = browser.new_page(viewport={"width": 1100, "height": 820})
        faults = []
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))

        def choose(model):
            page.select_option("#model", model)
            assert "No prediction yet" in page.inner_text("#answer")

        def answer(name, classes):
            page.wait_for_selector("#answer table")
            found = page.inner_text("#answer .best")
            assert found in classes, f"{name}: {found}"
            assert "%" in page.inner_text("#answer table")
            picture(name)

        def picture(name):
            if folder:
                page.screenshot(path=os.path.join(folder, f"{name}.png"), full_page=True)

        page.goto(url)
        page.wait_for_selector("#model option", state="attached")

        choose("rows")
        page.fill("#column0", "20")
        page.select_option("#column1", "Oslo")
        page.click("#predict")
        answer("rows", ["no", "yes"])
        assert '"city":"Oslo"' in page.inner_text("#command")

        choose("texts")
        page.fill("#text", "a good day")
        page.click("#predict")
        answer("texts", ["bad", "good"])

        choose("digits")
        box = page.query_selector("#canvas").bounding_box()
        page.mouse.move(box["x"] + 80, box["y"] + 60)
        page.mouse.down()
        for x, y in [(200, 60), (150, 140), (120, 230)]:
            page.mouse.move(box["x"] + x, box["y"] + y, steps=8)
        page.mouse.up()
        answer("digits", [str(digit) for digit in range(10)])

        choose("pictures")
        square = {"name": "square.png", "mimeType": "image/png", "buffer": png(200, 150)}
        page.set_input_files("#file", square)
        answer("pictures", ["cat", "dog"])

        choose("numbers")
        page.fill("#numbers", "1, 2, 3")
        page.click("#predict")
        page.wait_for_selector("#answer .wrong")
        assert "expected 4 numbers" in page.inner_text("#answer")
        assert len(faults) == 1 and "400" in faults[0], faults
        page.fill("#numbers", "1, 2, 3, 4")
        page.click("#predict")
        page.wait_for_selector("#answer table")
        assert "output 2" in page.inner_text("#answer")

        # A narrow window in the dark.
        page.set_viewport_size({"width": 390, "height": 800})
        page.emulate_media(color_scheme="dark")
        picture("narrow")
        root = "document.documentElement"
        wider = page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
        assert wider <= 0, f"the page is {wider} pixels wider than the window"
        browser.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["version"]:
        from importlib.metadata import version

        print(json.dumps({"version": version("playwright")}))
    else:
        use(*sys.argv[1:])
        print("the page works")
