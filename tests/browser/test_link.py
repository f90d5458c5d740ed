# SPDX-License-Identifier: AGPL-3.0-or-later
"""A doctor opens the link of a report: Pro Santé Connect, then the images of that study and nothing else."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from tests.system.appliance import Instance
from tests.system.conftest import Published

pytestmark = [pytest.mark.system, pytest.mark.browser]


def link(published: Published) -> str:
    return published.report.viewer_links()[0]


def log_in(page: Page, address: str) -> None:
    """From the link to the page around the viewer, as a doctor does it."""
    page.goto(address)
    page.get_by_role("link", name="Pro Santé Connect").click()
    page.locator("button[name=person][value=radiologue]").click()
    page.wait_for_url("**/visionneuse/**")


def shown(page: Page) -> np.ndarray:
    """The pixels of the viewer's canvas, once it has some."""
    frame = page.frame_locator("iframe")
    canvas = frame.locator("canvas").first
    expect(canvas).to_be_visible(timeout=60_000)
    for _ in range(120):
        pixels = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"))
        if (pixels > 40).mean() > 0.05:
            return pixels
        page.wait_for_timeout(500)
    raise AssertionError("the canvas stays black")


def test_the_link_shows_the_exam_after_login(
    appliance: Instance, published: Published, page: Page, picture: Path
) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(str(urlsplit(request.url).netloc)))
    problems: list[str] = []
    page.on(
        "console", lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None
    )
    log_in(page, link(published))
    pixels = shown(page)
    page.screenshot(path=str(picture / "visionneuse.png"))
    # a body: something in the middle, air in the corners of the image
    height, width = pixels.shape
    middle = pixels[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    assert (middle > 40).mean() > 0.5
    text = page.inner_text("body")
    assert "Usage non diagnostique" in text
    assert "ESSAI-DRIMBOX" in text
    own = {urlsplit(u).netloc for u in appliance.facts["urls"].values()}
    psc = {h for h in hosts if h not in own}
    assert len(psc) <= 2, "the appliance and the two addresses of PSC"
    assert [p for p in problems if "Content Security Policy" in p] == []


def test_the_session_reaches_no_other_study(
    appliance: Instance, published: Published, another: Published, page: Page, context: BrowserContext
) -> None:
    log_in(page, link(published))
    vi = appliance.facts["urls"]["vi"]
    mine, other = published.exam, another.exam

    def status(path: str) -> int:
        return context.request.get(vi + path).status

    assert status(f"/dicom-web/studies/{mine.study_uid}/series/{mine.series_uids[0]}/metadata") == 200
    for path in (
        f"/dicom-web/studies/{other.study_uid}/series",
        f"/dicom-web/studies/{other.study_uid}/series/{other.series_uids[0]}/metadata",
        f"/dicom-web/studies/{mine.study_uid}/series/{other.series_uids[0]}/../../../{other.study_uid}/metadata",
        f"/dicom-web/studies/{other.study_uid}",
        "/dicom-web/series",
        "/dicom-web/instances",
        "/system",
        "/instances",
        "/wado-rs/studies/" + mine.study_uid,
    ):
        assert status(path) in (401, 403, 404), path
    everything = context.request.get(vi + "/dicom-web/studies").json()
    assert [s["0020000D"]["Value"] for s in everything] in ([], [[mine.study_uid]])
    priors = context.request.get(vi + "/dicom-web/studies?00100020=IPP-ESSAI-1").json()
    assert [s["0020000D"]["Value"] for s in priors] == [[mine.study_uid]]


def test_without_login_nothing_is_shown(appliance: Instance, published: Published, context: BrowserContext) -> None:
    vi = appliance.facts["urls"]["vi"]
    study = published.exam.study_uid
    for path in (
        f"/dicom-web/studies/{study}/series",
        f"/dicom-web/studies/{study}/series/1.2/metadata",
        "/dicom-web/studies",
    ):
        assert context.request.get(vi + path).status in (401, 403)
    assert context.request.get(f"{vi}/ohif/viewer?StudyInstanceUIDs={study}").status in (401, 403)
    assert context.request.get(f"{vi}/ohif/index.html").status == 404


@pytest.mark.parametrize("change", ["studyUID=1.2.3", "idCDA=1.2.3", "Accessionnumber=1.2.3.OTHER"])
def test_a_wrong_link_gives_one_and_the_same_page(published: Published, page: Page, change: str) -> None:
    name = change.split("=", maxsplit=1)[0]
    address = link(published)
    before, _, query = address.partition("?")
    pairs = [p if not p.startswith(name + "=") else change for p in query.split("&")]
    page.goto(f"{before}?{'&'.join(pairs)}")
    page.get_by_role("link", name="Pro Santé Connect").click()
    page.locator("button[name=person][value=radiologue]").click()
    expect(page.locator("body")).to_contain_text("n'est pas disponible par ce lien")
