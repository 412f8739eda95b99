"""Every page as a picture, light and dark, wide and narrow, in the ignored folder `screenshots`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import psycopg
from playwright.sync_api import sync_playwright
from tests.dashboard.conftest import CHROMIUM, Served
from tests.dashboard.fleet import make_fleet
from tests.dashboard.test_pages import LOOKS, PAGES
from tests.resident.conftest import Residents

from session_continuity import SessionContinuity
from session_continuity.deployment import Deployment
from session_continuity.settings import load_settings

FOLDER = Path(__file__).parents[2] / "screenshots"


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    home = Path(tempfile.mkdtemp(prefix="continuity-screenshots-"))
    settings = load_settings(home=home / "home")
    residents = Residents(home)
    try:
        with SessionContinuity(settings) as client:
            client.find_sessions(limit=1)
            with psycopg.connect(Deployment(settings).url(), autocommit=True) as connection:
                fleet = make_fleet(client, connection)
        served = Served(residents.serve("-", role="live"), "-")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for scheme, width in LOOKS.values():
                context = browser.new_context(
                    viewport={"width": width, "height": 900},
                    color_scheme=scheme,  # type: ignore[arg-type]
                )
                page = context.new_page()
                page.goto(served.link())
                page.wait_for_url(f"{served.url}/")
                for name, path in PAGES.items():
                    page.goto(served.url + path.format(**vars(fleet)))
                    page.wait_for_selector("[data-link-text]:text('live')")
                    page.screenshot(path=FOLDER / f"{name}, {scheme}, {width}.png", full_page=True)
                context.close()
            browser.close()
    finally:
        for process in residents.started:
            process.terminate()
            process.communicate()
        Deployment(settings).stop()
        shutil.rmtree(home)
    print(f"{len(list(FOLDER.iterdir()))} pictures in {FOLDER}")


if __name__ == "__main__":
    main()
