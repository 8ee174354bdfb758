//! Explaining differences, signing reports, and how a sign-off is lost; a later report that reads only what changed.

use serde_json::Value;

use super::commands::{NAME, command, installed, report};
use crate::examples::support::{load_video_hosting, number};
use crate::support::{TestDatabase, each_database};

/// Behind the triggers' back: one payer's part of the newest `charges` divided charges grows by one unit. The ids of those.
fn plant(database: &TestDatabase, charges: usize) -> Vec<i64> {
    let mut connection = database.connection();
    let mut ids = Vec::new();
    for _ in 0..charges {
        let below = ids.last().copied().unwrap_or(i64::MAX);
        let id = number(
            &mut connection,
            &format!("SELECT max(charge_id) FROM charge_allocations WHERE amount_minor > 0 AND charge_id < {below}"),
        );
        connection
            .batch(&format!(
                "UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE charge_id = {id} AND payer_id =
                   (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {id})"
            ))
            .unwrap();
        ids.push(id);
    }
    ids
}

fn run(database: &TestDatabase, arguments: &[&str], code: i32) -> Value {
    command(database).arg("--json").args(arguments).run().expect_code(code).json()
}

fn explain(database: &TestDatabase, more: &[&str], code: i32) -> Value {
    let fixed = ["explanation", "add", NAME, "--class", "not_conserved", "--reason-code", "rounding-2019"];
    let words = ["--text", "booked by hand", "--owner", "Ada"];
    run(database, &[&fixed[..], &words[..], more].concat(), code)
}

#[test]
fn what_somebody_explains_counts_up_to_its_number_and_its_day() {
    each_database(|database| {
        load_video_hosting(&mut database.connection(), 300, 11);
        installed(&database);
        let ids = plant(&database, 3);
        assert_eq!(report(&database, &[NAME], 1)["data"]["unexplained_total"], 3);

        let named = ids[0].to_string();
        explain(&database, &["--charge", &named, "--expires", "2099-12-31", "--max-count", "9"], 0);
        let one = report(&database, &[NAME], 1);
        assert_eq!(one["data"]["unexplained_total"], 2, "{one}");
        assert_eq!(
            (&one["data"]["explained"][0]["covers"], &one["data"]["explained"][0]["owner"]),
            (&1.into(), &"Ada".into())
        );

        let any = explain(&database, &["--expires", "2099-12-31", "--max-count", "1"], 0);
        let two = report(&database, &[NAME], 1);
        assert_eq!(two["data"]["unexplained_total"], 1);
        assert_eq!(two["data"]["explained"][1]["state"], "exceeded");
        let id = two["id"].as_str().unwrap();
        let sign = ["report", "sign", id, "--name", "Grace", "--role", "finance"];
        let refused = command(&database).args(sign).run().expect_code(2);
        assert!(refused.stderr.contains("nobody explains"), "{refused}");
        command(&database).args(sign).args(["--reject", "--comment", "who booked this?"]).run().expect_code(0);

        explain(&database, &["--expires", "2099-12-31", "--max-count", "1"], 0);
        let clean = report(&database, &[NAME], 0);
        assert_eq!((&clean["data"]["clean"], &clean["data"]["exceptions_total"]), (&true.into(), &3.into()));
        assert_eq!(clean["data"]["trend"].as_array().unwrap().len(), 3);

        run(&database, &["explanation", "withdraw", NAME, any["id"].as_str().unwrap()], 0);
        assert_eq!(report(&database, &[NAME], 1)["data"]["unexplained_total"], 1);
        let listed = run(&database, &["explanation", "list", NAME], 0);
        assert_eq!(listed.as_array().unwrap().len(), 2);
        let shown = run(&database, &["explanation", "show", NAME, any["id"].as_str().unwrap()], 0);
        assert_eq!(shown["history"][1]["wording"], Value::Null, "{shown}");
        for bad in [
            vec!["--expires", "2020-01-01", "--max-count", "1"],
            vec!["--expires", "2099-01-01", "--max-count", "0"],
            vec!["--expires", "tomorrow", "--max-count", "1"],
        ] {
            command(&database)
                .args(["explanation", "add", NAME, "--class", "not_conserved", "--reason-code", "x", "--text", "y"])
                .args(["--owner", "z"])
                .args(bad)
                .run()
                .expect_code(2);
        }
        let fine = ["explanation", "add", NAME, "--class", "same_payer", "--reason-code", "x", "--text", "y"];
        let fine = command(&database).args(fine).args(["--owner", "z", "--expires", "2099-01-01", "--max-count", "1"]);
        assert!(fine.run().expect_code(2).stderr.contains("fine as it is"));
    });
}

#[test]
fn a_sign_off_is_lost_when_the_report_is_altered_or_overtaken() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 300, 12);
        installed(&database);
        let first = report(&database, &[NAME], 0);
        let id = first["id"].as_str().unwrap();
        let standing = |code: i32| run(&database, &["report", "standing", id], code);
        assert_eq!(standing(1)["counts"], false, "nobody has signed");
        let other = ["report", "sign", id, "--name", "Grace", "--role", "finance", "--sha256", "00"];
        assert!(command(&database).args(other).run().expect_code(2).stderr.contains("not the one that you read"));
        run(&database, &["report", "sign", id, "--name", "Grace", "--role", "finance"], 0);
        assert_eq!(standing(0)["counts"], true);

        let ids = plant(&database, 1);
        let unclean = report(&database, &[NAME], 1);
        let fault = standing(1)["faults"][0].as_str().unwrap().to_owned();
        assert!(fault.contains("overtaken by report") && fault.contains(unclean["id"].as_str().unwrap()), "{fault}");
        connection
            .batch(&format!(
                "UPDATE charge_allocations SET amount_minor = amount_minor - 1 WHERE charge_id = {0} AND payer_id =
                   (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = {0})",
                ids[0]
            ))
            .unwrap();
        let mended = report(&database, &[NAME], 0);
        assert_eq!(standing(0)["counts"], true, "what overtook it has been mended");
        let compared =
            run(&database, &["report", "compare", unclean["id"].as_str().unwrap(), mended["id"].as_str().unwrap()], 1);
        assert_eq!(compared["gone_exceptions"][0]["charge_id"], ids[0].to_string(), "{compared}");

        connection
            .batch(&format!("UPDATE svc_changeover_reports SET data = replace(data, 'EUR', 'USD') WHERE id = '{id}'"))
            .unwrap();
        let altered = command(&database).args(["report", "sign", id, "--name", "Ada", "--role", "engineering"]).run();
        assert!(altered.expect_code(2).stderr.contains("altered"));
    });
}

#[test]
fn every_exception_is_kept_and_a_later_report_takes_over_what_is_unchanged() {
    each_database(|database| {
        load_video_hosting(&mut database.connection(), 300, 13);
        installed(&database);
        let ids = plant(&database, 5);
        let first = report(&database, &[NAME, "--checksums", "--exceptions-max", "1"], 1);
        let id = first["id"].as_str().unwrap();
        let page = run(&database, &["report", "exceptions", id, "--limit", "3"], 0);
        assert_eq!(page["items"].as_array().unwrap().len(), 3);
        let rest = run(&database, &["report", "exceptions", id, "--after", page["next"].as_str().unwrap()], 0);
        assert_eq!(rest["items"].as_array().unwrap().len(), 2);
        let charge = ids[4].to_string();
        let found = run(&database, &["report", "exceptions", id, "--charge", &charge, "--class", "not_conserved"], 0);
        assert_eq!(found["items"][0]["charge_id"], charge);

        let second = report(&database, &[NAME, "--since", "last"], 1);
        let since = &second["data"]["since"];
        assert_eq!(since["sha256"], first["sha256"]);
        assert_eq!(second["data"]["exceptions_sha256"], first["data"]["exceptions_sha256"]);
        assert_eq!((&since["classes"], &since["totals"]), (&serde_json::json!([]), &serde_json::json!([])));
        let kept = run(&database, &["report", "exceptions", second["id"].as_str().unwrap()], 0);
        assert_eq!(kept["items"].as_array().unwrap().len(), 5, "an unchanged chunk's exceptions are taken over");
        plant(&database, 1);
        let third = report(&database, &[NAME, "--since", "last"], 1);
        assert_ne!(third["data"]["exceptions_sha256"], first["data"]["exceptions_sha256"]);
        command(&database).args(["report", "run", NAME, "--since", "nowhere"]).run().expect_code(2);
        command(&database).args(["report", "run", NAME, "--as-of", "2999-01-01T00:00:00Z"]).run().expect_code(2);
    });
}
