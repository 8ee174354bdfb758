//! The same report twice for the same as-of is the same bytes: whatever the order of the rows on disk, the size of the chunks, the
//! database's language and time zone, and the machine's.

use std::collections::BTreeMap;
use std::path::Path;

use changeover::database::Dialect;

use changeover::report::{Beside, Listed, Report, to_html, to_text, write_csv_directory};
use changeover::translation::compare::{CompareRequest, Unwatched, compare};

use super::documents::subject;
use super::ledger::Ledger;
use crate::examples::support::load_video_hosting;
use crate::support::{TestDatabase, changeover, each_database};

/// Names that languages sort each in their own way.
const PAYERS: [&str; 9] = ["ann", "Bob", "bob", "Ärger", "zoë", "öre", "o e", "_x", "Ωmega"];
const IDS: [&str; 6] = ["c", "C", "ch", "cz", "č", "ç"];

/// Charges with payers of equal changes, ties everywhere, and a fault of each kind that several lines tell of.
fn filled(ledger: &mut Ledger) {
    for (place, id) in IDS.iter().enumerate() {
        for number in 0..5 {
            let payers = [PAYERS[place], PAYERS[(place + number) % 9], PAYERS[(place + number + 3) % 9]];
            let payers = if payers[0] == payers[1] { &payers[1..] } else { &payers[..] };
            ledger.charge(&format!("{id}{number}"), "2026-11", 900, payers);
            ledger.charge_in(&format!("{id}-{number}"), "2026-10", "JPY", 901, payers);
        }
    }
    ledger.run(
        "UPDATE new_parts SET amount = amount + 1 WHERE charge_id LIKE '%2'; DELETE FROM new_parts WHERE charge_id LIKE '%-1';
         UPDATE new_parts SET payer = 'ghost' WHERE substr(charge_id, 1, 1) = 'c' AND charge_id LIKE '%3'; INSERT INTO new_parts VALUES ('ö', 'ann', 1, 'EUR'), ('z', 'ann', 1, 'EUR')",
    );
}

/// Rows in another order on disk.
fn reordered(ledger: &mut Ledger) {
    let sql = match ledger.connection.dialect() {
        Dialect::Postgres => {
            "CREATE INDEX by_amount ON new_parts (amount DESC, payer); CLUSTER new_parts USING by_amount;
             CREATE TABLE aside AS SELECT * FROM old_parts; DELETE FROM old_parts; INSERT INTO old_parts SELECT * FROM aside ORDER BY payer DESC;
             UPDATE charges SET amount = amount WHERE id LIKE '%3'; VACUUM FULL charges; ANALYZE"
        }
        Dialect::Sqlite => {
            "CREATE TABLE aside AS SELECT * FROM new_parts; DELETE FROM new_parts; INSERT INTO new_parts SELECT * FROM aside ORDER BY amount DESC, payer;
             CREATE TABLE beside AS SELECT * FROM charges; DELETE FROM charges; INSERT INTO charges SELECT * FROM beside ORDER BY currency, id DESC;
             CREATE INDEX by_payer ON old_parts (payer, charge_id); VACUUM; ANALYZE"
        }
    };
    for statement in sql.split(';') {
        ledger.run(statement);
    }
}

/// All forms of a report, by name.
type Forms = BTreeMap<String, Vec<u8>>;

fn forms(ledger: &mut Ledger, chunk_charges: u64) -> Forms {
    let request =
        CompareRequest { chunk_charges, exceptions_max: 13, movers_max: 4, ..CompareRequest::of(&ledger.allocation) };
    let comparison = compare(&mut ledger.connection, &request, &mut Unwatched).unwrap().finished().unwrap();
    let report = Report::new(subject(), comparison, Beside::default()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    write_csv_directory(&report, &mut Listed(&report.data), directory.path()).unwrap();
    let mut forms = files(directory.path());
    forms.insert(String::from("json"), report.data_text().unwrap().into_bytes());
    forms.insert(String::from("html"), to_html(&report).unwrap().into_bytes());
    forms.insert(String::from("text"), to_text(&report).into_bytes());
    forms
}

fn files(directory: &Path) -> Forms {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

#[track_caller]
fn assert_same(one: &Forms, other: &Forms, what: &str) {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in one {
        assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(&other[name]), "{what}: {name}");
    }
}

#[test]
fn order_on_disk_chunks_and_database_change_no_byte() {
    let mut first = None;
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let mut ledger = Ledger::new(TestDatabase::new(dialect));
        filled(&mut ledger);
        let forms = (forms(&mut ledger, 0), forms(&mut ledger, 7));
        assert_same(&forms.0, &forms.1, "in chunks");
        reordered(&mut ledger);
        assert_same(&forms.0, &self::forms(&mut ledger, 0), "in another order on disk");
        assert_same(&forms.0, &self::forms(&mut ledger, 1), "in another order on disk, charge by charge");
        let first = first.get_or_insert_with(|| forms.0.clone());
        assert_same(first, &forms.0, "on the other database");
    }
}

#[test]
fn no_language_changes_a_byte() {
    let mut plain = Ledger::new(TestDatabase::postgres());
    filled(&mut plain);
    let version = plain.connection.get_row("SELECT current_setting('server_version_num') AS version", &[]).unwrap();
    if version.text("version").unwrap().as_str() < "150000" {
        eprintln!(
            "SKIPPED: before version 15, PostgreSQL sorts whole databases by the operating system's languages only"
        );
        return;
    }
    let plain_forms = forms(&mut plain, 0);
    for locale in ["sv", "de-AT-u-co-phonebk", "tr", "und-u-kf-upper"] {
        let database = TestDatabase::postgres_with(&format!("LOCALE_PROVIDER icu ICU_LOCALE '{locale}'"));
        let mut ledger = Ledger::new(database);
        ledger.run("SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German, DMY'; SET extra_float_digits = 0; SET intervalstyle = iso_8601");
        filled(&mut ledger);
        assert_same(&plain_forms, &forms(&mut ledger, 0), locale);
        assert_same(&plain_forms, &forms(&mut ledger, 7), locale);
    }
}

const CHANGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/video-hosting/change.toml");
const NAME: &str = "billing-allocation";

/// All forms that the binary makes of a report as of one moment, each from a run of its own.
fn by_binary(database: &TestDatabase, zone: &str) -> Forms {
    let directory = tempfile::tempdir().unwrap();
    let run = |format: &str, out: &str| {
        let out = directory.path().join(out);
        let command = changeover().service(database).app(database).env("TZ", zone).env("LC_ALL", "C.utf8");
        let arguments = ["report", "run", NAME, "--as-of", "2026-11-01T06:00:00Z", "--format", format, "--out"];
        drop(command.args(arguments).arg(&out).run().expect_code(1));
        out
    };
    let set = run("csv", "set");
    let mut forms = files(&set);
    forms.insert(String::from("html"), std::fs::read(run("html", "page")).unwrap());
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(run("json", "data")).unwrap()).unwrap();
    forms.insert(String::from("json"), serde_json::to_vec(&json["data"]).unwrap());
    forms.insert(String::from("sha256"), json["sha256"].to_string().into_bytes());
    forms
}

#[test]
fn the_binary_writes_the_same_bytes_twice() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 9);
        let run = |arguments: &[&str]| {
            drop(changeover().service(&database).app(&database).args(arguments).run().expect_code(0));
        };
        run(&["change", "install", CHANGE]);
        run(&["change", "stage", NAME, "dualwrite"]);
        run(&["backfill", NAME]);
        connection
            .batch("UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE charge_id % 29 = 0")
            .unwrap();
        let first = by_binary(&database, "UTC");
        let reorder = match database.dialect() {
            Dialect::Postgres => [
                "CLUSTER charges USING charges_user_id",
                "VACUUM FULL charge_allocations",
                "CLUSTER memberships USING memberships_user_id",
            ],
            Dialect::Sqlite => ["VACUUM", "ANALYZE", "REINDEX"],
        };
        for statement in reorder {
            connection.batch(statement).unwrap();
        }
        assert_same(&first, &by_binary(&database, "Pacific/Chatham"), "another time zone and order");
    });
}
