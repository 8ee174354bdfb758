//! The page of reports of every kind: well-formed, labelled, self-contained, harmless, and never larger than it may be. The pages are left
//! below `target/report-pages`, where `tests/browser` looks at them with a browser's eyes.

use std::fs;
use std::path::{Path, PathBuf};

use changeover::primitives::Instant;
use changeover::report::{Report, SignOff, to_html, to_text_at};

use super::markup;
use super::synthetic::{self, CURRENCIES, NAMES, SMALL, Size};

const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Where pages are left for the browser.
pub fn keep(name: &str, page: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("report-pages");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, page).unwrap();
    path
}

fn checked(name: &str, report: &Report) -> String {
    let page = to_html(report).unwrap();
    markup::check(&page);
    assert!(page.len() <= PAGE_BYTES_MAX, "{name}: {} bytes", page.len());
    for never in ["<script>alert", "<img", "http:", "https:", "url(", "@import", "javascript:"] {
        assert!(!page.contains(never), "{name}: {never}");
    }
    keep(name, &page);
    page
}

fn clean(size: Size) -> Report {
    let mut report = synthetic::report(
        "Charge an account's members, not whoever uploaded the video",
        Size { exceptions: 0, ..size },
    );
    let at = Instant::parse("2026-12-01T08:30:00Z").unwrap();
    report.signatures.push(SignOff {
        name: String::from("Grace <H>"),
        role: String::from("finance"),
        at,
        approves: true,
        comment: String::new(),
    });
    report
}

#[test]
fn control_totals_come_first_and_what_was_compared_last() {
    let page = checked("clean.html", &clean(SMALL));
    let places: Vec<usize> = [
        "id=\"totals\"",
        "id=\"since\"",
        "id=\"payers-1\"",
        "id=\"classes\"",
        "id=\"exceptions\"",
        "id=\"trend\"",
        "id=\"signoff\"",
        "id=\"proof\"",
    ]
    .iter()
    .map(|id| page.find(id).unwrap_or_else(|| panic!("{id}")))
    .collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.find("class=\"verdict good\"").unwrap() < places[0]);
    assert!(page.contains("Grace &#60;H&#62;") || page.contains("Grace &lt;H&gt;"));
}

#[test]
fn every_wrong_class_and_every_explanation_is_on_the_page() {
    let report = synthetic::report("Everything is wrong", SMALL);
    let page = checked("wrong.html", &report);
    for class in changeover::allocation::ChargeClass::ALL {
        assert!(page.contains(&format!("<code>{class}</code>")), "{class}");
    }
    for state in ["✓ holds", "✗ too many charges", "✗ expired"] {
        assert!(page.contains(state), "{state}");
    }
    assert!(page.contains("Nobody explains") && page.contains("at most 2"));
    assert!(page.contains("2026-11-02 06:00:00 UTC") && page.contains("412 exceptions, 412 unexplained"));
}

#[test]
fn an_empty_report_reads_as_one() {
    let page = checked("empty.html", &synthetic::empty());
    assert!(page.contains("There are no charges to compare."));
}

#[test]
fn twelve_currencies_are_each_in_their_own_form() {
    let size = Size { periods: 3, currencies: 12, movers: 5, exceptions: 24, parts: 4 };
    let page = checked("currencies.html", &synthetic::report("Twelve currencies", size));
    for (currency, _) in CURRENCIES {
        assert!(page.contains(&format!("What changes for whom, in {currency}")), "{currency}");
    }
    assert!(page.contains("nobody says how many decimals"), "XYZ is in smallest units");
}

#[test]
fn a_page_for_a_million_charges_is_at_most_two_mebibytes_and_says_what_it_leaves_out() {
    let size = Size { periods: 36, currencies: 12, movers: 2_000, exceptions: 20_000, parts: 20 };
    let page = checked("large.html", &synthetic::report(&NAMES[6].repeat(4), size));
    assert!(page.len() > PAGE_BYTES_MAX / 8, "{} bytes: much more would fit", page.len());
    let listed = page.matches(" data-kind=").count();
    assert!(listed >= 100, "{listed}");
    assert!(page.contains("are listed</strong>, the first of each class in turn. All of them are in the CSV form"));
    let text = to_text_at(&synthetic::report("Large", size), 80);
    assert!(text.lines().count() < 1_000_000);
}

#[test]
fn the_policy_names_exactly_what_the_page_contains() {
    let page = checked("clean.html", &clean(SMALL));
    let tags = markup::read(&page).unwrap();
    let policy = tags.iter().find_map(|tag| tag.get("http-equiv").and(tag.get("content"))).unwrap();
    assert!(policy.starts_with("default-src &#39;none&#39;;"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(policy.matches("sha256-").count(), 2);
}
