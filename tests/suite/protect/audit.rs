//! The audit log: every write appends to it, and whatever is done to it afterwards shows.

use changeover::database::Value as Sql;
use serde_json::{Value, json};

use super::{People, flag};
use crate::support::{TestDatabase, each_database};

/// Writes of every kind, and how many rows the log has then.
fn busy(database: &TestDatabase) -> (People, i64) {
    let people = People::new(database);
    let rows =
        || people.expect(200, "ada", "GET", "/api/v1/audit/verification", &Value::Null)["rows"].as_i64().unwrap();
    let mut before = rows();
    let mut write = |method: &str, path: &str, body: Value, audited: &[&str]| {
        let reply = people.send("ada", method, path, &body);
        assert!(reply.status.is_success(), "{method} {path}: {}", reply.json());
        let after = rows();
        let found = people.expect(200, "ada", "GET", &format!("/api/v1/audit?limit={}", audited.len()), &Value::Null);
        let actions: Vec<&str> =
            found["items"].as_array().unwrap().iter().rev().map(|row| row["action"].as_str().unwrap()).collect();
        assert_eq!(actions, audited, "{method} {path}");
        assert_eq!(after - before, i64::try_from(audited.len()).unwrap(), "{method} {path}");
        before = after;
        reply.location.unwrap_or_default()
    };
    let protection = json!({"percent_per_hour": 5.0});
    write("POST", "/api/v1/cohorts", json!({"name": "c"}), &["cohort.create"]);
    write("PUT", "/api/v1/cohorts/c/ids", json!("1\n2\n"), &["cohort.replace"]);
    write("POST", "/api/v1/cohorts/c/ids", json!("3\n"), &["cohort.add"]);
    write("POST", "/api/v1/cohorts/c/removals", json!("1\n"), &["cohort.remove"]);
    write("POST", "/api/v1/flags", flag("f", 0, protection.clone()), &["flag.create"]);
    write(
        "PUT",
        "/api/v1/flags/f?override=true&reason=now",
        flag("f", 9_000, protection),
        &["flag.replace", "flag.override"],
    );
    write("PUT", "/api/v1/flags/f/enabled", json!({"enabled": false}), &["flag.replace"]);
    write("POST", "/api/v1/flags", flag("two", 0, json!({"two_person": true})), &["flag.create"]);
    let place = write("DELETE", "/api/v1/flags/two", Value::Null, &["proposal.create"]);
    write("POST", &format!("{place}/rejection"), json!({}), &["proposal.withdraw"]);
    let document = json!({"format": 1, "flags": [flag("imported", 0, json!({}))], "cohorts": []});
    write("POST", "/api/v1/imports", json!({"document": document}), &["flag.import"]);
    write("DELETE", "/api/v1/flags/f", Value::Null, &["flag.remove"]);
    write("DELETE", "/api/v1/cohorts/c", Value::Null, &["cohort.delete"]);
    let made = people.expect(201, "ada", "POST", "/api/v1/tokens", &json!({"name": "x", "role": "viewer"}));
    people.expect(204, "ada", "DELETE", &format!("/api/v1/tokens/{}", made["id"].as_str().unwrap()), &Value::Null);
    assert_eq!(rows() - before, 2, "a token made and revoked");
    let rows = rows();
    (people, rows)
}

#[test]
fn whatever_is_done_to_the_log_shows() {
    each_database(|database| {
        let (people, rows) = busy(&database);
        let verdict = || people.expect(200, "ada", "GET", "/api/v1/audit/verification", &Value::Null);
        assert_eq!(verdict()["whole"], true);
        let middle = rows / 2;
        let columns = "at, actor, action, subject, reason, detail, previous_hash, hash";
        let kept = "CREATE TABLE kept_audit AS SELECT * FROM svc_changeover_audit; CREATE TABLE kept_state AS SELECT * FROM svc_changeover_state";
        database.connection().batch(kept).unwrap();
        let mut tamperings: Vec<(String, i64)> = [
            "at = at + 1",
            "actor = 'eve'",
            "action = 'flag.other'",
            "subject = 'flag/other'",
            "reason = 'another'",
            "detail = '{}'",
            "hash = 'x'",
            "previous_hash = 'x'",
        ]
        .map(|set| (format!("UPDATE svc_changeover_audit SET {set} WHERE id = {middle}"), middle))
        .to_vec();
        tamperings.push((format!("DELETE FROM svc_changeover_audit WHERE id = {middle}"), middle));
        tamperings.push((String::from("DELETE FROM svc_changeover_audit WHERE id = 1"), 1));
        tamperings.push((format!("DELETE FROM svc_changeover_audit WHERE id = {rows}"), rows));
        tamperings.push((format!("DELETE FROM svc_changeover_audit WHERE id > {middle}"), middle + 1));
        tamperings.push((String::from("DELETE FROM svc_changeover_audit"), 1));
        // Two rows change places.
        tamperings.push((
            format!("UPDATE svc_changeover_audit SET id = -1 WHERE id = {middle}; UPDATE svc_changeover_audit SET id = {middle} WHERE id = {middle} + 1;
                     UPDATE svc_changeover_audit SET id = {middle} + 1 WHERE id = -1"),
            middle,
        ));
        // One more row at the end, with the hashes of the one before it.
        tamperings.push((format!("INSERT INTO svc_changeover_audit (id, {columns}) SELECT id + 1, {columns} FROM svc_changeover_audit WHERE id = {rows}"), rows + 1));
        // The end is cut off, and the row that counts is told so, but for the hash.
        tamperings.push((
            format!("DELETE FROM svc_changeover_audit WHERE id > {middle}; UPDATE svc_changeover_state SET audit_count = {middle}"),
            middle + 1,
        ));
        tamperings.push((String::from("UPDATE svc_changeover_state SET audit_hash = ''"), rows + 1));
        for (tampering, broken_at) in tamperings {
            database.connection().batch(&tampering).unwrap();
            let found = verdict();
            assert_eq!(
                (&found["whole"], &found["broken_at"]),
                (&json!(false), &json!(broken_at)),
                "{tampering}: {found}"
            );
            let restore = "DELETE FROM svc_changeover_audit; INSERT INTO svc_changeover_audit SELECT * FROM kept_audit;
                           DELETE FROM svc_changeover_state; INSERT INTO svc_changeover_state SELECT * FROM kept_state";
            database.connection().batch(restore).unwrap();
            assert_eq!(verdict()["whole"], true, "{tampering}");
        }
        let mut connection = database.connection();
        connection.execute("UPDATE svc_changeover_audit SET actor = $1 WHERE id = 1", &[Sql::from("eve")]).unwrap();
        let verified = crate::support::changeover().service(&database).args(["audit", "verify"]).run().expect_code(1);
        assert!(verified.stdout.contains("row 1"), "{verified}");
    });
}
