//! The last stages: the old path is watched until it is quiet, completing a change removes its triggers, and every way back that there is
//! loses nothing.

use changeover::change::{ObservationGate, Stage};
use changeover::database::{DatabaseConnection, Dialect};
use changeover::primitives::Instant;
use changeover::translation::{
    Gate, Outside, TranslationError, VerifyOptions, check_step, checklist, gates, own, removal_plan, remove, verify,
};

use super::fixture::{Installed, deed, installed, step};
use crate::support::{TestDatabase, changeover, each_database};

/// Gates of `complete` as they are some hours from now, the flag being at 100 %.
fn gates_in(installed: &Installed, hours: i64) -> Vec<Gate> {
    let mut connection = installed.connection();
    let change = own::get_change(&mut connection, &installed.model.name).unwrap();
    let now = Instant::from_micros(deed().at.as_micros() + hours * 3_600_000_000);
    let outside = Outside { not_everybody: None, ..Outside::at(now) };
    gates(&mut connection, &installed.model, &change, Stage::Complete, &outside).unwrap()
}

fn quiet(installed: &Installed, hours: i64) -> Gate {
    gates_in(installed, hours).into_iter().find(|gate| gate.name.contains("old path")).unwrap()
}

fn triggers(connection: &mut DatabaseConnection) -> i64 {
    let sql = match connection.dialect() {
        Dialect::Postgres => "SELECT count(*) AS n FROM pg_trigger WHERE tgname LIKE 'changeover_billing%'",
        Dialect::Sqlite => {
            "SELECT count(*) AS n FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'changeover_billing%'"
        }
    };
    connection.get_row(sql, &[]).unwrap().integer("n").unwrap()
}

#[test]
fn live_waits_for_observations_that_agree_if_the_file_asks_for_them() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        let mut connection = installed.connection();
        let mut change = own::get_change(&mut connection, &installed.model.name).unwrap();
        let mut asked = |change: &own::InstalledChange, observed: (u64, u64)| {
            let outside = Outside { observed, ..Outside::at(deed().at) };
            let all = gates(&mut connection, &installed.model, change, Stage::Live, &outside).unwrap();
            all.into_iter().find(|gate| gate.name.contains("observe"))
        };
        assert!(asked(&change, (0, 0)).is_none(), "nothing is asked for");
        change.file.stages.observations =
            Some(ObservationGate { max_mismatch_millionths: 1_000, min_compared: 1_000, over_hours: 24 });
        for (observed, holds) in [((999, 0), false), ((1_000, 0), true), ((1_000, 1), true), ((1_000, 2), false)] {
            let gate = asked(&change, observed).unwrap();
            assert_eq!(gate.holds, holds, "{observed:?}: {gate:?}");
        }
    });
}

#[test]
fn rampdown_notes_what_still_needed_the_old_path_and_nothing_else() {
    each_database(|database| {
        let installed = installed(database, Stage::Live);
        let mut connection = installed.connection();
        step(&mut connection, &installed.model, Stage::RampDown);
        let before = quiet(&installed, 0);
        assert!(!before.holds && before.evidence.contains("none since `rampdown`"), "{before:?}");
        assert!(quiet(&installed, 170).holds);
        for untranslated in [
            "UPDATE users SET name = 'Ädä' WHERE id = 1",
            "UPDATE charges SET amount_minor = amount_minor",
            "INSERT INTO memberships (account_id, user_id, role, weight) SELECT id, 3, 'member', 1 FROM accounts WHERE owner_id = 1",
            "UPDATE video_accounts SET account_id = (SELECT id FROM accounts WHERE owner_id = 3) WHERE video_id = 1",
            "DELETE FROM users WHERE id = 999",
            // The foreign key of the new model does it.
            "DELETE FROM charges WHERE id = 3",
        ] {
            connection.batch(untranslated).unwrap();
            let gate = quiet(&installed, 170);
            assert!(gate.holds && gate.evidence.contains("none since"), "{untranslated}: {gate:?}");
        }
        for (translated, table) in [
            ("INSERT INTO videos (id, user_id, title) VALUES (100, 2, 'late')", "videos"),
            ("UPDATE users SET company = 'late' WHERE id = 2", "users"),
            ("UPDATE charges SET amount_minor = 12 WHERE id = 1", "charges"),
            ("UPDATE videos SET user_id = 4 WHERE id = 100", "videos"),
        ] {
            connection.batch(translated).unwrap();
            let gate = quiet(&installed, 100);
            assert!(!gate.holds && gate.evidence.contains(&format!("on {table}")), "{translated}: {gate:?}");
        }
        assert!(quiet(&installed, 170).holds, "a week later");
        installed.assert_agrees(true, &|| String::from("at rampdown"));
    });
}

#[test]
fn going_back_from_rampdown_needs_no_gate_and_loses_nothing() {
    each_database(|database| {
        for back in [Stage::Live, Stage::Shadow] {
            let installed = installed(TestDatabase::new(database.dialect()), Stage::Live);
            let mut connection = installed.connection();
            step(&mut connection, &installed.model, Stage::RampDown);
            connection
                .batch("UPDATE video_accounts SET account_id = (SELECT id FROM accounts WHERE owner_id = 3) WHERE video_id = 4;
                        INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (50, 1, 1, '2026-11', 'EUR', 10)")
                .unwrap();
            let change = own::get_change(&mut connection, &installed.model.name).unwrap();
            let asked = gates(&mut connection, &installed.model, &change, back, &Outside::at(deed().at)).unwrap();
            assert!(asked.is_empty(), "{asked:?}");
            step(&mut connection, &installed.model, back);
            connection.batch("INSERT INTO users (id, name) VALUES (70, 'later')").unwrap();
            installed.assert_agrees(true, &|| format!("back to {back}"));
            let sql = "SELECT user_id FROM videos WHERE id = 4";
            assert_eq!(connection.get_row(sql, &[]).unwrap().integer("user_id").unwrap(), 3);
        }
    });
}

#[test]
fn completing_removes_the_triggers_and_says_what_is_left() {
    each_database(|database| {
        let installed = installed(database, Stage::Live);
        let mut connection = installed.connection();
        step(&mut connection, &installed.model, Stage::RampDown);
        verify(&mut connection, &installed.model, VerifyOptions::default(), &mut |_, _| {}).unwrap();
        let found = gates_in(&installed, 200);
        assert!(found.iter().all(|gate| gate.holds), "{found:#?}");
        assert!(triggers(&mut connection) > 0);
        step(&mut connection, &installed.model, Stage::Complete);
        assert_eq!(triggers(&mut connection), 0);
        connection
            .batch("INSERT INTO users (id, name) VALUES (70, 'untranslated'); DELETE FROM charges WHERE id = 2")
            .unwrap();
        let count = "SELECT count(*) AS n FROM accounts WHERE owner_id = 70";
        assert_eq!(connection.get_row(count, &[]).unwrap().integer("n").unwrap(), 0);
        let change = own::get_change(&mut connection, &installed.model.name).unwrap();
        let left = checklist(&installed.model, &change);
        let names: Vec<&String> = left.iter().flat_map(|removal| &removal.names).collect();
        for name in ["videos.user_id", "billing-allocation", "effective_allocation", "charges"] {
            assert!(names.iter().any(|found| *found == name), "{name}: {left:#?}");
        }
        for stage in [Stage::RampDown, Stage::Off] {
            let refused = check_step(&change, stage);
            assert!(matches!(refused, Err(TranslationError::NoStep { .. })), "{refused:?}");
        }
        // What is not closed is billed by the new model, also where nobody was assigned.
        let old = "SELECT count(*) AS n FROM effective WHERE side = 'old'".replace(
            "effective",
            if installed.database.dialect() == Dialect::Postgres {
                "changeover.effective_allocation"
            } else {
                "changeover_effective_allocation"
            },
        );
        assert_eq!(connection.get_row(&old, &[]).unwrap().integer("n").unwrap(), 0);
        // Once nobody reads the view any more, and whatever has become of the old tables, the rest goes.
        assert!(!removal_plan(&mut connection, &change).unwrap().is_empty());
        remove(&mut connection, &change, false).unwrap();
        assert!(own::list_changes(&mut connection).unwrap().is_empty());
    });
}

#[test]
fn force_needs_a_reason_and_leaves_evidence() {
    each_database(|database| {
        let installed = installed(database, Stage::Live);
        let run = |arguments: &[&str]| {
            changeover().app(&installed.database).service(&installed.database).args(arguments).run()
        };
        let held_back = run(&["change", "stage", "rampdown", "--json"]).expect_code(1);
        assert_eq!(held_back.json()["moved"], false);
        assert!(held_back.json()["gates"].as_array().unwrap().iter().any(|gate| {
            gate["holds"] == false && gate["evidence"].as_str().unwrap().contains("it does not exist")
        }));
        let unreasoned = run(&["change", "stage", "rampdown", "--force"]).expect_code(2);
        assert!(unreasoned.stderr.contains("reason"), "{unreasoned}");
        run(&["change", "stage", "rampdown", "--force", "--reason", "fire drill"]).expect_code(0);
        let complete =
            run(&["change", "stage", "complete", "--force", "--reason", "fire drill", "--json"]).expect_code(0);
        assert!(complete.json()["checklist"].as_array().unwrap().len() >= 4, "{complete}");
        let status = run(&["change", "status", "--json"]).expect_code(0).json();
        assert_eq!(status["change"]["stage"], "complete");
        let history = status["history"].as_array().unwrap();
        let last: serde_json::Value =
            serde_json::from_str(history.last().unwrap()["detail"].as_str().unwrap()).unwrap();
        assert_eq!((last["forced"].clone(), last["reason"].clone()), (true.into(), "fire drill".into()));
        assert!(last["gates"].as_array().unwrap().iter().any(|gate| gate["holds"] == false), "{last}");
        run(&["change", "uninstall"]).expect_code(0);
    });
}
