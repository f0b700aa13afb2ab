"""The HTML report in a real browser: the system's Chromium, driven by Playwright. Skipped where either is missing."""

import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from prunebench.suite.asked import all_claims
from prunebench.suite.preset import load_preset
from prunebench.suite.report.page import write_page
from prunebench.suite.report.page.page import LEADING

playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")

LAPTOP = load_preset(Path(__file__).parents[2] / "config/laptop.yaml")
IDS = [claim.id for claim in all_claims(LAPTOP)]
FIGURES = LEADING * len(LAPTOP.studies()) + 2  # and those of the calibration
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium found: none of {', '.join(NAMES)}")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # The sandbox refuses to run as root, which is what containers do.
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def ledger(made_up):
    """A made-up ledger of all claims: two scales, missing runs."""
    content = made_up.ledger(LAPTOP, ["s_cyc: seed 2: 3 of 25 runs are missing"])
    for finding in content["findings"][-3:]:
        finding["scale"] = "full: as in the paper"
    return content


@pytest.fixture(scope="module")
def address(made_up, ledger, tmp_path_factory):
    """A page with every part: figures, tables, the ledger."""
    folder = tmp_path_factory.mktemp("report")
    results, figures = made_up.write(folder, LAPTOP, ledger)
    out = folder / "report.html"
    write_page(results, figures, out)
    return out.as_uri()


@pytest.fixture
def open_page(browser, address):
    """Opens the page; at the end no error was logged and nothing but the page was asked for."""
    contexts, logged, asked = [], [], []

    def opening(viewport=DESKTOP, fragment="", **options):
        context = browser.new_context(viewport=viewport, reduced_motion="reduce", **options)
        contexts.append(context)

        def allow(route):
            asked.append(route.request.url)
            route.continue_() if route.request.url.split("#")[0] == address else route.abort()

        context.route("**/*", allow)
        page = context.new_page()
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.set_default_timeout(5000)
        page.goto(address + fragment)
        return page

    yield opening
    for context in contexts:
        context.close()
    assert not logged
    assert {url.split("#")[0] for url in asked} == {address}


def shown(page):
    """The claims that are visible, in the order in which they stand."""
    return page.eval_on_selector_all(
        "tbody.claim", "all => all.filter(one => one.checkVisibility()).map(one => one.id.replace('claim-', ''))"
    )


def sort_state(page):
    return page.eval_on_selector_all("[aria-sort]", "all => all.map(one => [one.dataset.key, one.ariaSort])")


def evidence(page, claim):
    return page.locator(f"#claim-{claim} details.evidence")


def opened(page):
    """The claims whose evidence is open."""
    return page.eval_on_selector_all(
        "details.evidence[open]", "all => all.map(one => one.closest('tbody').id.replace('claim-', ''))"
    )


def wanted(ledger, **values):
    return [each["id"] for each in ledger["findings"] if all(each[key] == value for key, value in values.items())]


def test_the_ledger_is_complete_and_closed(open_page, ledger):
    page = open_page()
    assert shown(page) == IDS
    assert page.inner_text("#shown") == f"{len(IDS)} of {len(IDS)} claims shown"
    assert opened(page) == []
    assert sort_state(page) == [["order", "ascending"]]
    verdicts = page.locator("tr.facts .c-verdict:has(svg.glyph)").all_inner_texts()
    assert verdicts == [finding["shown"] for finding in ledger["findings"]]


def test_sorting_by_mouse_and_by_keyboard(open_page, ledger):
    page = open_page()
    verdict = page.get_by_role("button", name="Verdict", exact=True)
    verdict.click()
    order = [*ledger["counts"]]
    verdicts = {finding["id"]: order.index(finding["verdict"]) for finding in ledger["findings"]}
    assert [verdicts[claim] for claim in shown(page)] == sorted(verdicts.values())
    assert sort_state(page) == [["verdict", "ascending"]]
    verdict.press("Enter")
    assert [verdicts[claim] for claim in shown(page)] == sorted(verdicts.values(), reverse=True)
    assert sort_state(page) == [["verdict", "descending"]]
    assert verdict.evaluate("button => button === document.activeElement")

    page.get_by_role("button", name="A repeat agrees").press("Space")
    firm = {finding["id"]: finding["stability"] for finding in ledger["findings"]}
    numbers = [firm[claim] for claim in shown(page)]
    known = [number for number in numbers if number is not None]
    assert known == sorted(known)
    assert numbers[: len(known)] == known, "claims without a number come last"
    page.get_by_role("button", name="A repeat agrees").press("Space")
    numbers = [firm[claim] for claim in shown(page)]
    assert numbers[: len(known)] == sorted(known, reverse=True)

    effect = page.get_by_role("button", name="Effect here")
    assert effect.get_attribute("title") == "Sorts by unit, then by value"
    for sign in (1, -1):
        effect.click()
        effects = page.eval_on_selector_all(
            "tbody.claim", "all => all.map(one => [one.dataset.unit, one.dataset.effect]).filter(one => one[1])"
        )
        assert len(effects) > 20
        assert len({unit for unit, _ in effects}) > 3
        assert effects == sorted(effects, key=lambda one: (one[0], sign * float(one[1])))
    page.get_by_role("button", name="Id", exact=True).click()
    assert shown(page) == IDS
    buttons = page.locator("#claims > thead button")
    assert buttons.count() == 7
    for index in range(7):
        buttons.nth(index).click()
        assert len(shown(page)) == len(IDS)
        assert len(sort_state(page)) == 1


def test_filtering_by_paper_verdict_scale_and_words(open_page, ledger):
    page = open_page()
    page.select_option("[name=paper]", "cascade")
    assert shown(page) == wanted(ledger, paper="cascade")
    page.select_option("[name=verdict]", "not reproduced")
    both = wanted(ledger, paper="cascade", verdict="not reproduced")
    assert shown(page) == both
    assert page.inner_text("#shown") == f"{len(both)} of {len(IDS)} claims shown"
    assert page.evaluate("location.hash") == "#paper=cascade&verdict=not+reproduced"
    page.click("text=Show all")
    assert shown(page) == IDS
    page.select_option("[name=scale]", "full: as in the paper")
    assert shown(page) == IDS[-3:]
    page.click("text=Show all")
    page.fill("[name=q]", "BENCHMARK consistently")
    assert shown(page) == ["A3"]
    page.fill("[name=q]", "no such words")
    assert shown(page) == []
    assert page.inner_text("#shown") == f"0 of {len(IDS)} claims shown"
    assert page.get_attribute("#shown", "aria-live") == "polite"


def test_the_address_keeps_filter_and_order(open_page, ledger):
    page = open_page(fragment="#paper=directional&q=SGD&sort=-order")
    assert page.input_value("[name=q]") == "SGD"
    found = shown(page)
    assert found == sorted(found, reverse=True)
    assert {claim[0] for claim in found} == {"C"}
    page.get_by_role("button", name="Id", exact=True).click()
    assert page.evaluate("location.hash") == "#q=SGD&paper=directional&sort=order"
    # A verdict's count in the head is a link to its claims; an unknown value filters nothing.
    page.locator(".counts a").nth(1).click()
    assert shown(page) == wanted(ledger, verdict="not reproduced")
    page.evaluate("location.hash = '#verdict=%3Cscript%3E'")
    page.wait_for_function(f"document.getElementById('shown').textContent.startsWith('{len(IDS)}')")


def test_evidence_opens_by_mouse_and_by_keyboard(open_page):
    page = open_page()
    page.locator("#claim-A3 .c-sentence").click()
    assert opened(page) == ["A3"]
    for words in ("test accuracy of S-Cyc minus that of the best benchmark", "margin +1 points", "+2.1 to +3.4 %"):
        assert words in evidence(page, "A3").inner_text()
    assert evidence(page, "A3").locator(".forest svg.strip").count() == 7
    page.locator("#claim-A3 summary").click()
    assert opened(page) == []
    summary = page.locator("#claim-B4 summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert opened(page) == ["B4"]
    page.keyboard.press("Space")
    assert opened(page) == []
    page.click("text=Open every row")
    assert opened(page) == IDS
    page.click("text=Close every row")
    assert opened(page) == []


def test_the_marks_of_a_forest_plot_lie_where_their_numbers_are(open_page):
    page = open_page()
    page.click("#claim-A3 summary")
    plot = evidence(page, "A3").locator(".forest").first
    left = [plot.locator(f".{mark}").first.bounding_box()["x"] for mark in ("null", "margin")]
    assert left[0] < left[1]
    boxes = [row.bounding_box() for row in plot.locator("tbody td.plot").all()]
    means = [mark.bounding_box() for mark in plot.locator("tbody .mean").all()]
    assert len(boxes) == len(means) == 6
    assert all(
        box["x"] < mean["x"] < box["x"] + box["width"] and box["y"] < mean["y"] < box["y"] + box["height"]
        for box, mean in zip(boxes, means, strict=True)
    )
    values = [float(text.replace("\N{MINUS SIGN}", "-")) for text in plot.locator("tbody td b").all_inner_texts()]
    by_value = sorted(range(6), key=lambda row: values[row])
    centres = [means[row]["x"] + means[row]["width"] / 2 for row in by_value]
    assert all(b > a - 1.5 for a, b in pairwise(centres))


def test_a_link_to_evidence_or_to_a_table_opens_it(open_page):
    page = open_page(fragment="#claim-C7")
    assert opened(page) == ["C7"]
    page.select_option("[name=paper]", "cascade")
    page.locator("#figure-s_cyc_accuracy a", has_text="A3").click()
    page.wait_for_function("document.querySelector('#claim-A3 details').open")
    assert page.locator("#claim-A3").is_visible(), "the filter that hid it was cleared"
    table = page.locator("#table-s_cyc_accuracy")
    assert not table.evaluate("part => part.open")
    page.locator("#claim-A3 a[href='#table-s_cyc_accuracy']").click()
    page.wait_for_function("document.querySelector('#table-s_cyc_accuracy').open")
    with page.expect_download() as download:
        table.locator("a[download$='.csv']").click()
    assert download.value.suggested_filename == "s_cyc_accuracy.csv"


def test_the_keyboard_reaches_the_ledger_first(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'ledger'")
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_keyboard_stops_at_figures_only_where_they_scroll(open_page):
    stops = "[...document.querySelectorAll('.plate[tabindex]')].filter(one => one.checkVisibility()).length"
    for viewport, expected in ((DESKTOP, 0), (PHONE, FIGURES)):
        page = open_page(viewport)
        # What scrolls is known a frame after the layout.
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate(stops) == expected


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
def test_a_phone_needs_no_scrolling_sideways(open_page, script):
    page = open_page(PHONE, java_script_enabled=script)
    if script:
        page.click("text=Open every row")
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        overflow = page.evaluate("document.documentElement.scrollWidth")
        assert overflow <= 390
        wide = page.evaluate(
            "[...document.querySelectorAll('.claim *:not(thead *, svg *, .plate img, .visually-hidden)')]"
            ".filter(one => one.checkVisibility() && one.getBoundingClientRect().right > 390).map(one => one.outerHTML)"
        )
        assert wide == []
        assert page.locator("#claim-A3 .c-published").is_visible()
    assert page.locator("#claim-A3").bounding_box()["width"] <= 390


def test_without_script_the_page_can_be_read(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("tbody.claim").count() == len(IDS)
    assert page.locator("#claim-C9").is_visible()
    assert not page.locator("#controls").is_visible()
    assert not page.locator("#theme").is_visible()
    page.click("#claim-A3 summary")
    assert evidence(page, "A3").locator("dt", has_text="Rule").is_visible()


def test_the_theme_follows_the_system_and_the_button(open_page):
    page = open_page(color_scheme="dark")

    def brightness():
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3

    assert brightness() < 60
    plate = "getComputedStyle(document.querySelector('.plate'))"
    image = "getComputedStyle(document.querySelector('.plate img'))"
    assert page.evaluate(f"{plate}.backgroundColor") == "rgba(0, 0, 0, 0)", "no white plate in the dark"
    assert "invert" in page.evaluate(f"{image}.filter")
    page.click("text=Light theme")
    assert brightness() > 200
    assert page.evaluate(f"{image}.filter") == "none"
    page.click("text=Dark theme")
    assert brightness() < 60
    assert page.evaluate("document.cookie") == ""


def test_on_paper_the_ledger_is_complete_light_and_without_controls(open_page):
    page = open_page(color_scheme="dark")
    page.click("#claim-A3 summary")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown(page) == IDS
    assert evidence(page, "A3").locator(".forest").first.is_visible()
    for hidden in ("#controls", "#theme", "nav", ".skip", "#table-s_cyc_accuracy .inside"):
        assert not page.locator(hidden).is_visible(), hidden
    assert page.locator("#figure-s_cyc_accuracy img").is_visible()
    assert page.locator("#table-s_cyc_accuracy summary").is_visible(), "a folded table is listed"
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.folded'), '::details-content').contentVisibility")
        == "visible"
    )


def test_the_answer_comes_first_and_the_claims_stand_by_paper(open_page):
    page = open_page()
    heads = page.locator("main h2").all_inner_texts()
    assert heads[0] == "The answer"
    answers = page.locator(".found .of-paper").all_inner_texts()
    assert len(answers) == len(LAPTOP.studies())
    assert all("claims" in text and "scale" in text for text in answers)
    groups = page.locator("tbody.group:visible").all_inner_texts()
    assert [text.strip() for text in groups] == [paper.short for paper, _ in LAPTOP.studies().values()]
    page.get_by_role("button", name="Verdict", exact=True).click()
    assert page.locator("tbody.group:visible").count() == 0
    page.get_by_role("button", name="Id", exact=True).click()
    page.select_option("[name=paper]", "cascade")
    assert page.locator("tbody.group:visible").count() == 1


def test_a_claims_own_figure_stands_beside_its_forest_plots(open_page):
    page = open_page()
    own = page.locator("#claim-B2 .own img")
    assert own.count() == 0
    page.click("#claim-B2 summary")
    own.wait_for()
    whole = page.get_attribute("#figure-cascade_random_vs_magnitude img", "src")
    assert own.get_attribute("src") == whole


def test_headline_figures_are_open_and_a_link_opens_a_folded_one(open_page):
    page = open_page()
    assert page.locator("#figure-cascade_shedding img").is_visible()
    assert not page.locator("#figure-cascade_histograms img").is_visible()
    page.evaluate("location.hash = '#figure-cascade_histograms'")
    page.locator("#figure-cascade_histograms img").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_arrows_that_sort_can_be_seen(open_page, scheme):
    page = open_page(color_scheme=scheme)
    arrow, around = page.evaluate(
        "[getComputedStyle(document.querySelector('#claims thead th:not([aria-sort]) button'), '::after')"
        ".borderTopColor, getComputedStyle(document.body).backgroundColor]"
    )

    def luminance(colour):
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted(map(luminance, (arrow, around)))
    assert (bright + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["light on a desktop", "dark on a phone"]
)
def test_axe_finds_no_serious_fault(open_page, scheme, viewport):
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    page = open_page(viewport, color_scheme=scheme)
    page.evaluate("for (const id of ['A3', 'B3', 'C9']) document.querySelector(`#claim-${id} details`).open = true")
    page.evaluate("document.getElementById('table-s_cyc_accuracy').open = true")
    page.evaluate(source)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 20
    faults = [(fault["id"], fault["impact"], fault["nodes"][0]["html"][:200]) for fault in found["violations"]]
    assert [fault for fault in faults if fault[1] in ("serious", "critical")] == []
    assert faults == []
