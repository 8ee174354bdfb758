//! Every form of any report: the JSON keeps to its schema and reads back, the CSV set to its manifest, the page to its markup and the text
//! to its width.

use std::fs;
use std::path::Path;

use changeover::allocation::{
    Bucket, ChargeClass, ClassTotal, Comparison, ControlTotal, EffectiveSource, ExceptionLine, Minor, Mover, Part,
    PayersTotal, SideTotal, Trend,
};
use changeover::report::{
    Beside, CsvTable, Listed, MANIFEST, Report, SCHEMA, check_csv_directory, check_document, to_html, to_text_at,
    write_csv_directory,
};
use proptest::prelude::*;
use proptest::{collection, option};
use serde_json::Value;

use super::synthetic::{self, SMALL, Size};
use super::{markup, schema};
use crate::support::changeover;

/// Faults of a document against the published schema.
pub fn faults_of_schema(document: &str) -> Vec<String> {
    schema::faults(&serde_json::from_str(SCHEMA).unwrap(), &serde_json::from_str(document).unwrap())
}

fn assert_all_forms(report: &Report) {
    let json = report.to_json().unwrap();
    assert_eq!(faults_of_schema(&json), Vec::<String>::new());
    let read = Report::from_stored(&report.data_text().unwrap(), &report.sha256, report.signatures.clone()).unwrap();
    assert_eq!(read.data, report.data);
    let checked = check_document(&json).unwrap();
    assert_eq!(checked.said, checked.found);
    markup::check(&to_html(report).unwrap());
    for width in [80, 100, 120] {
        let text = to_text_at(report, width);
        assert!(text.starts_with("CLEAN: ") || text.starts_with("NOT CLEAN: "), "the verdict comes first");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "nothing plays tricks on the terminal");
    }
    assert_set(report);
}

/// Writes the set and reads each file with another hand.
fn assert_set(report: &Report) {
    let directory = tempfile::tempdir().unwrap();
    let manifest = write_csv_directory(report, &mut Listed(&report.data), directory.path()).unwrap();
    assert_eq!(check_csv_directory(directory.path()).unwrap().faults, Vec::<String>::new());
    for entry in &manifest.files {
        let text = fs::read_to_string(directory.path().join(&entry.name)).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let columns = reader.headers().unwrap().len();
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(u64::try_from(rows.len()).unwrap(), entry.rows, "{}", entry.name);
        for cell in rows.iter().inspect(|row| assert_eq!(row.len(), columns)).flatten() {
            let is_number =
                cell.strip_prefix('-').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
            assert!(is_number || !cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{}: {cell}", entry.name);
        }
    }
}

#[test]
fn reports_of_every_kind_have_every_form() {
    let large = Size { periods: 4, currencies: 12, movers: 30, exceptions: 90, parts: 9 };
    for report in [synthetic::empty(), synthetic::report("Small", SMALL), synthetic::report("Large", large)] {
        assert_all_forms(&report);
    }
}

#[test]
fn the_schema_knows_every_class_and_refuses_what_it_does_not_know() {
    let published: Value = serde_json::from_str(SCHEMA).unwrap();
    let classes = published["$defs"]["class"]["enum"].as_array().unwrap();
    for class in ChargeClass::ALL {
        assert!(classes.contains(&Value::String(class.to_string())), "{class}");
    }
    let report = synthetic::report("Small", SMALL);
    let mut document: Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    document["data"]["totals"][0]["amount"] = Value::from(12);
    document["data"]["novelty"] = Value::from(true);
    assert_eq!(faults_of_schema(&document.to_string()).len(), 2, "an amount is text, and nothing is unknown");
}

#[test]
fn the_command_line_prints_the_schema_and_holds_files_against_their_checksums() {
    let printed = changeover().args(["report", "schema"]).run().expect_code(0);
    assert_eq!(printed.stdout.trim(), SCHEMA.trim());

    let report = synthetic::report("Small", SMALL);
    let directory = tempfile::tempdir().unwrap();
    write_csv_directory(&report, &mut Listed(&report.data), directory.path()).unwrap();
    let json = directory.path().join("report.json");
    fs::write(&json, report.to_json().unwrap()).unwrap();
    let verify = |path: &Path, code: i32| {
        changeover().arg("--json").args(["report", "verify"]).arg(path).run().expect_code(code)
    };
    assert_eq!(verify(directory.path(), 0).json()["report_sha256"], report.sha256);
    assert_eq!(verify(&json, 0).json()["report_sha256"], report.sha256);

    let altered = fs::read_to_string(&json).unwrap().replace("Small", "Smell");
    fs::write(&json, altered).unwrap();
    assert_eq!(verify(&json, 1).json()["intact"], false);
    let totals = directory.path().join(CsvTable::ControlTotals.file_name());
    let altered = fs::read_to_string(&totals).unwrap().replacen("40000", "40001", 1);
    fs::write(totals, altered).unwrap();
    fs::remove_file(directory.path().join(CsvTable::Trend.file_name())).unwrap();
    let faults = verify(directory.path(), 1).json()["faults"].to_string();
    assert!(
        faults.contains("control_totals.csv is not what was written") && faults.contains("trend.csv is missing"),
        "{faults}"
    );
    fs::remove_file(directory.path().join(MANIFEST)).unwrap();
    verify(directory.path(), 2);
}

fn amount() -> impl Strategy<Value = Minor> {
    (-(10i128.pow(30))..10i128.pow(30)).prop_map(Minor::new)
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,70}", any::<String>(), proptest::sample::select(&synthetic::NAMES).prop_map(str::to_owned)]
}

fn class() -> impl Strategy<Value = ChargeClass> {
    proptest::sample::select(&ChargeClass::ALL)
}

fn count() -> impl Strategy<Value = u64> {
    0..1_000_000_000u64
}

fn side() -> impl Strategy<Value = SideTotal> {
    (count(), count(), amount()).prop_map(|(charges, rows, amount)| SideTotal { charges, rows, amount })
}

fn total() -> impl Strategy<Value = ControlTotal> {
    (word(), word(), count(), amount(), [side(), side(), side()], count(), amount(), count()).prop_map(
        |(period, currency, charges, amount, [old, new, effective], on_new, on_new_amount, without_group)| {
            ControlTotal {
                period,
                currency,
                charges,
                amount,
                old,
                new,
                effective,
                on_new,
                on_new_amount,
                without_group,
            }
        },
    )
}

fn class_total() -> impl Strategy<Value = ClassTotal> {
    (class(), option::of(word()), option::of(word()), count(), amount())
        .prop_map(|(class, period, currency, charges, amount)| ClassTotal { class, period, currency, charges, amount })
}

fn payers_total() -> impl Strategy<Value = PayersTotal> {
    (word(), count(), count(), [amount(), amount(), amount(), amount()]).prop_map(
        |(currency, payers, changed, [old, moved_out, moved_in, new])| PayersTotal {
            currency,
            payers,
            changed,
            old,
            moved_out,
            moved_in,
            new,
        },
    )
}

fn mover() -> impl Strategy<Value = Mover> {
    (word(), option::of(word()), [amount(), amount(), amount(), amount()], count()).prop_map(
        |(currency, payer, [old, moved_out, moved_in, new], charges)| Mover {
            currency,
            payer,
            old,
            moved_out,
            moved_in,
            new,
            charges,
        },
    )
}

fn bucket() -> impl Strategy<Value = Bucket> {
    let trend = proptest::sample::select(&[Trend::Less, Trend::Same, Trend::More]);
    (word(), trend, 0..38u16, count(), amount()).prop_map(|(currency, trend, digits, payers, amount)| Bucket {
        currency,
        trend,
        digits,
        payers,
        amount,
    })
}

fn part() -> impl Strategy<Value = Part> {
    (option::of(word()), count(), amount(), count(), amount(), any::<bool>()).prop_map(
        |(payer, old_rows, old, new_rows, new, expected)| Part { payer, old_rows, old, new_rows, new, expected },
    )
}

fn exception() -> impl Strategy<Value = ExceptionLine> {
    let amounts = (option::of(amount()), amount(), amount(), amount());
    let parts = collection::vec(part(), 0..4);
    (word(), class(), option::of(word()), option::of(word()), amounts, parts, count()).prop_map(
        |(
            charge_id,
            class,
            period,
            currency,
            (amount, old_amount, new_amount, effective_amount),
            parts,
            parts_total,
        )| {
            ExceptionLine {
                charge_id,
                class,
                period,
                currency,
                amount,
                old_amount,
                new_amount,
                effective_amount,
                parts,
                parts_total,
            }
        },
    )
}

fn any_report() -> impl Strategy<Value = Report> {
    let lists = (
        collection::vec(total(), 0..4),
        collection::vec(class_total(), 0..6),
        collection::vec(payers_total(), 0..3),
        collection::vec(mover(), 0..5),
        collection::vec(bucket(), 0..5),
        collection::vec(exception(), 0..5),
    );
    let exponents = collection::btree_map(word(), 0..20u16, 0..4);
    (word(), lists, exponents, any::<bool>(), count(), any::<bool>()).prop_map(
        |(title, (totals, classes, payers, movers, histogram, exceptions), exponents, is_view, more, is_explained)| {
            let comparison = Comparison {
                effective: if is_view { EffectiveSource::View } else { EffectiveSource::Old },
                exponents,
                totals,
                classes,
                payers,
                movers,
                histogram,
                exceptions_total: u64::try_from(exceptions.len()).unwrap() + more,
                exceptions,
                asked: Vec::new(),
            };
            let explanations = if is_explained { synthetic::explanations() } else { Vec::new() };
            let beside = Beside { explanations, trend: synthetic::trend(), ..Beside::default() };
            Report::new(synthetic::subject(&title), comparison, beside).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_report_has_every_form(report in any_report()) {
        assert_all_forms(&report);
    }
}
