//! When a sign-off counts: roles that `live` needs, two people at the same moment, and what takes it away again.

use changeover::primitives::{ChangeName, Instant};
use changeover::report;
use changeover::store::Store;
use changeover::store::reports::Word;
use serde_json::{Value, json};

use super::commands::{CHANGE, NAME, command, report as run_report};
use crate::examples::support::{load_video_hosting, number};
use crate::support::{TestDatabase, each_database};

/// The example's change file under another title; `live` needs both roles.
fn file(directory: &tempfile::TempDir, title: &str) -> String {
    let text = std::fs::read_to_string(CHANGE).unwrap();
    assert!(!text.contains("[stages]") && text.contains("Charge an account's members"));
    let text = text.replace("Charge an account's members", title);
    let path = directory.path().join("change.toml");
    std::fs::write(&path, format!("{text}\n[stages]\nsign_off = [\"finance\", \"engineering\"]\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The example at `shadow`.
fn at_shadow(database: &TestDatabase, seed: u64) {
    load_video_hosting(&mut database.connection(), 300, seed);
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| drop(command(database).args(arguments).run().expect_code(0));
    run(&["change", "install", &file(&directory, "As it was")]);
    run(&["change", "stage", NAME, "dualwrite"]);
    run(&["backfill", NAME]);
    run(&["verify", NAME]);
    run(&["change", "stage", NAME, "shadow"]);
}

fn sign(database: &TestDatabase, id: &str, name: &str, role: &str) {
    let sign = ["report", "sign", id, "--name", name, "--role", role];
    command(database).args(sign).run().expect_code(0);
}

/// What the gate of `live` says of the report.
fn gate(database: &TestDatabase) -> (bool, String) {
    let run = command(database).args(["--json", "change", "stage", NAME, "live"]).run();
    let document: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run}"));
    let gates = document["gates"].as_array().unwrap_or_else(|| panic!("{document}")).clone();
    let gate = gates.iter().find(|gate| gate["name"].as_str().unwrap().contains("signed off")).unwrap();
    (gate["holds"].as_bool().unwrap(), gate["evidence"].as_str().unwrap().to_owned())
}

#[test]
fn live_needs_every_role_that_the_change_file_names_and_a_rejection_is_a_no() {
    each_database(|database| {
        at_shadow(&database, 61);
        assert!(gate(&database).1.contains("no signed report"));
        let id = run_report(&database, &[NAME], 0)["id"].as_str().unwrap().to_owned();
        sign(&database, &id, "Grace", "finance");
        let (holds, evidence) = gate(&database);
        assert!(!holds && evidence.contains("is not signed as engineering"), "{evidence}");
        sign(&database, &id, "Grace", "support");
        assert!(!gate(&database).0, "any role will not do");
        sign(&database, &id, "Ada", "engineering");
        let (holds, evidence) = gate(&database);
        assert!(holds && evidence.contains("is clean and signed"), "{evidence}");

        let reject =
            ["report", "sign", &id, "--name", "Ken", "--role", "finance", "--reject", "--comment", "not November"];
        command(&database).args(reject).run().expect_code(0);
        let (holds, evidence) = gate(&database);
        assert!(!holds && evidence.contains("was rejected by Ken (finance)"), "{evidence}");
    });
}

#[test]
fn two_people_sign_at_the_same_moment_and_nobody_signs_twice() {
    each_database(|database| {
        at_shadow(&database, 62);
        let id = run_report(&database, &[NAME], 0)["id"].as_str().unwrap().to_owned();
        let store = Store::open(database.database()).unwrap();
        let signers = [("Grace", "finance"), ("Ada", "engineering"), ("Grace", "finance"), ("Ada", "engineering")];
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = signers
                .iter()
                .map(|(name, role)| {
                    let word = Word::approving(name, role, Instant::from(jiff::Timestamp::now()));
                    let (store, id) = (&store, &id);
                    scope.spawn(move || report::sign(store, id, word).map(|_| ()).map_err(|error| error.to_string()))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2, "{results:?}");
        for refused in results.into_iter().filter_map(Result::err) {
            assert!(refused.contains("already"), "{refused}");
        }
        let found = report::find(&store, &id).unwrap().unwrap();
        let mut names: Vec<&str> = found.signatures.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["Ada", "Grace"]);
        let sql = "SELECT count(*) FROM svc_changeover_audit WHERE action = 'report.sign'";
        assert_eq!(number(&mut database.connection(), sql), 2);
        command(&database).args(["audit", "verify"]).run().expect_code(0);
    });
}

fn faults(database: &TestDatabase, id: &str) -> Vec<String> {
    let standing = command(database).args(["--json", "report", "standing", id]).run();
    let document: Value = serde_json::from_str(&standing.stdout).unwrap_or_else(|_| panic!("{standing}"));
    serde_json::from_value(document["faults"].clone()).unwrap()
}

#[test]
fn an_edited_report_loses_its_sign_off_whatever_was_edited() {
    each_database(|database| {
        at_shadow(&database, 63);
        let store = Store::open(database.database()).unwrap();
        let mut connection = database.connection();
        let change =
            changeover::translation::own::get_change(&mut connection, &ChangeName::new(NAME).unwrap()).unwrap();
        let table = "svc_changeover_reports";
        let edits: [(&str, &str); 5] = [
            ("data = replace(data, 'EUR', 'USD')", "was altered"),
            ("clean = false", "was altered"),
            ("as_of = as_of + 1000000", "was altered"),
            ("periods = '[\"2026-11\"]'", "was altered"),
            // Whoever edits the checksum with it meets what was signed.
            ("data = replace(data, 'EUR', 'USD'), sha256 = 'ab'", "is not what was signed"),
        ];
        for (day, (edit, told)) in (1..).zip(edits) {
            let as_of = format!("2025-06-0{day}T06:00:00Z");
            let id = run_report(&database, &[NAME, "--as-of", &as_of], 0)["id"].as_str().unwrap().to_owned();
            sign(&database, &id, "Grace", "finance");
            sign(&database, &id, "Ada", "engineering");
            assert_eq!(report::standing(&store, &change, &id).unwrap().1, Vec::<String>::new());
            connection.batch(&format!("UPDATE {table} SET {edit} WHERE id = '{id}'")).unwrap();
            let found = report::standing(&store, &change, &id).unwrap().1;
            assert!(found.iter().any(|fault| fault.contains(told)), "{edit}: {found:?}");
            connection.batch(&format!("DELETE FROM svc_changeover_report_signatures WHERE report = '{id}'")).unwrap();
            connection.batch(&format!("DELETE FROM {table} WHERE id = '{id}'")).unwrap();
        }
    });
}

#[test]
fn a_report_of_another_change_file_or_of_an_older_cohort_loses_its_sign_off() {
    each_database(|database| {
        at_shadow(&database, 64);
        let id = run_report(&database, &[NAME], 0)["id"].as_str().unwrap().to_owned();
        sign(&database, &id, "Grace", "finance");
        sign(&database, &id, "Ada", "engineering");
        assert!(gate(&database).0);
        let run = |arguments: &[&str]| drop(command(&database).args(arguments).run().expect_code(0));
        // A cohort that the flag names is changed after the report was made.
        run(&["cohort", "create", "pilot"]);
        let flag = json!({
            "key": NAME, "type": "string", "enabled": true, "variants": { "old": "old", "new": "new" }, "default_variant": "old",
            "off_variant": "old", "rules": [{ "cohort": "pilot", "serve": { "variant": "new" } }], "change": NAME,
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flag.json");
        std::fs::write(&path, flag.to_string()).unwrap();
        run(&["flag", "create", path.to_str().unwrap()]);
        let found = faults(&database, &id);
        assert!(
            found.iter().any(|fault| fault.contains("older than the last change of the cohort `pilot`")),
            "{found:?}"
        );
        let (holds, evidence) = gate(&database);
        assert!(!holds && evidence.contains("cohort `pilot`"), "{evidence}");

        run(&["change", "update", &file(&directory, "As it is")]);
        let found = faults(&database, &id);
        assert!(found.iter().any(|fault| fault.contains("another version of the change file")), "{found:?}");
    });
}
