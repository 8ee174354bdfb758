//! A small fixed comparison in every form: the same on both databases, the same bytes each time.

use changeover::primitives::{ChangeName, Instant};
use changeover::report::{
    Basis, Beside, CsvTable, Listed, MANIFEST, Report, SignOff, Subject, to_html, to_text, write_csv_directory,
};

use super::ledger::Ledger;
use crate::support::each_database;

pub(super) fn subject() -> Subject {
    Subject {
        change: ChangeName::new("billing-allocation").unwrap(),
        title: String::from("Charge an account's members, not whoever uploaded the video"),
        file_sha256: "ab".repeat(32),
        basis: Basis::Installed { stage: String::from("shadow") },
        configuration_version: Some(7),
        as_of: Instant::parse("2026-12-01T06:00:00Z").unwrap(),
        periods: Vec::new(),
        declared_losses: Vec::new(),
    }
}

/// Two currencies, two periods, a refund, and payers with names that somebody else chose.
fn clean(ledger: &mut Ledger) {
    for number in 0..9i64 {
        let period = if number % 2 == 0 { "2026-10" } else { "2026-11" };
        ledger.charge(&format!("c{number}"), period, 100_000 + 777 * number, &["ann", "bob", "<b>cid</b> & co"]);
    }
    ledger.charge("same", "2026-11", 250_000, &["dan"]);
    ledger.charge_in("yen", "2026-11", "JPY", 90_001, &["ann", "eve"]);
    ledger.refund("back", "c1", "2026-11", -100_777, &["ann", "bob", "<b>cid</b> & co"]);
}

fn faulty(ledger: &mut Ledger) {
    clean(ledger);
    ledger.run(
        "UPDATE new_parts SET amount = amount - 1 WHERE charge_id = 'c3' AND payer = 'bob';
         UPDATE new_parts SET payer = 'mallory' WHERE charge_id = 'c4' AND payer = 'ann';
         DELETE FROM new_parts WHERE charge_id = 'c5';
         INSERT INTO new_parts VALUES ('c6', 'bob', 0, 'EUR'), ('ghost', 'ann', 5, 'EUR')",
    );
}

fn report(ledger: &mut Ledger) -> Report {
    let mut report = Report::new(subject(), ledger.compare(), Beside::default()).unwrap().with_id("0001");
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
fn a_clean_report_reads_the_same_from_both_databases() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        clean(&mut ledger);
        let report = report(&mut ledger);
        insta::assert_snapshot!("clean_text", to_text(&report));
        insta::assert_snapshot!("clean_html", to_html(&report).unwrap());
        insta::assert_snapshot!("clean_json", report.to_json().unwrap());
    });
}

/// All files of the set and its manifest, one after the other.
fn csv_set(report: &Report) -> String {
    let directory = tempfile::tempdir().unwrap();
    write_csv_directory(report, &mut Listed(&report.data), directory.path()).unwrap();
    let names = CsvTable::ALL.map(CsvTable::file_name).into_iter().chain([MANIFEST]);
    let files = names.map(|name| {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        format!("── {name}\n{}", text.replace("\r\n", "\n"))
    });
    files.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_report_with_faults_names_them() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        faulty(&mut ledger);
        let report = report(&mut ledger);
        insta::assert_snapshot!("faulty_text", to_text(&report));
        insta::assert_snapshot!("faulty_html", to_html(&report).unwrap());
        insta::assert_snapshot!("faulty_csv", csv_set(&report));
    });
}

#[test]
fn ids_that_want_to_be_more_than_texts_stay_texts_in_every_form() {
    let ids = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(2)>",
        "=cmd|/C calc!A0",
        "+1-800",
        "two\nlines",
        "\u{1b}[31mred",
        "\u{202e}backwards",
    ];
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        for id in ids {
            ledger.charge(id, "2026-10", 500, &["ann", id]);
        }
        // Every one of them is an exception, and so told by its id.
        ledger.run("UPDATE new_parts SET amount = amount + 1 WHERE payer = 'ann'");
        let report = report(&mut ledger);
        assert_eq!(report.data.unexplained_total, u64::try_from(ids.len()).unwrap());
        let page = to_html(&report).unwrap();
        assert!(page.contains("&lt;script&gt;alert(1)") || page.contains("&#60;script&#62;alert(1)"), "it is shown");
        for markup in ["<script>alert", "<img src=x", "\"><img", "\u{1b}"] {
            assert!(!page.contains(markup), "{markup:?}");
        }
        let text = to_text(&report);
        assert!(text.contains("=cmd|/C calc!A0"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && !text.contains("two\nlines"), "{text}");
        let set = csv_set(&report);
        assert!(set.contains("'=cmd|/C calc!A0") && set.contains("'+1-800"), "{set}");
        assert!(!set.contains(",=cmd") && !set.contains("\n=cmd") && !set.contains(",+1-800"), "{set}");
    });
}

#[test]
fn terminal_text_fits_a_hundred_columns() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        faulty(&mut ledger);
        let long = "a payer whose name does not end soon ".repeat(4);
        ledger.run(&format!(
            "ALTER TABLE new_parts ADD COLUMN long_payer TEXT; UPDATE new_parts SET long_payer = '{long}' || payer"
        ));
        ledger.allocation.new.value =
            String::from("SELECT charge_id, long_payer AS payer, amount * 1000000 AS amount FROM new_parts");
        for line in to_text(&report(&mut ledger)).lines() {
            // Sentences may be longer: a terminal wraps them. Tables may not.
            if line.contains("  ") {
                assert!(line.chars().count() <= 100, "{}: {line}", line.chars().count());
            }
        }
    });
}

#[test]
fn the_same_data_give_the_same_bytes_and_another_as_of_another_checksum() {
    each_database(|database| {
        let mut ledger = Ledger::new(database);
        faulty(&mut ledger);
        let (one, two) = (report(&mut ledger), report(&mut ledger));
        assert_eq!(one.to_json().unwrap(), two.to_json().unwrap());
        assert_eq!(to_html(&one).unwrap(), to_html(&two).unwrap());

        let mut later = subject();
        later.as_of = Instant::parse("2026-12-01T06:00:01Z").unwrap();
        assert_ne!(Report::new(later, ledger.compare(), Beside::default()).unwrap().sha256, one.sha256);

        let text = one.data_text().unwrap();
        let read = Report::from_stored(&text, &one.sha256, one.signatures.clone()).unwrap().with_id("0001");
        assert_eq!(read, one);
        let altered = text.replace("mallory", "alice");
        assert!(Report::from_stored(&altered, &one.sha256, Vec::new()).unwrap_err().to_string().contains("altered"));
    });
}
