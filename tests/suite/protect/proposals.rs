//! Flags that take two persons: what waits, who decides, and what happens when two do at once.

use serde_json::{Value, json};

use super::{People, flag};
use crate::support::{changeover, each_database};

fn protected(new: u32) -> Value {
    flag("f", new, json!({"two_person": true}))
}

#[test]
fn a_write_waits_until_another_person_approves_it() {
    each_database(|database| {
        let mut people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &protected(1_000));
        let first = people.version("f");
        let reply = people.send("ada", "PUT", "/api/v1/flags/f?reason=more", &protected(2_000));
        assert_eq!(reply.status, 202, "{:?}", reply.json());
        let place = reply.location.clone().unwrap();
        assert_eq!(people.version("f"), first, "nothing is changed yet, not even the version");
        let pending = people.expect(200, "ada", "GET", "/api/v1/proposals?pending=true", &Value::Null);
        assert_eq!(pending["items"].as_array().unwrap().len(), 1, "{pending}");
        let shown = people.expect(200, "grace", "GET", &place, &Value::Null);
        assert_eq!(
            (&shown["subject"], &shown["state"], &shown["proposed_by"]),
            (&json!("flag/f"), &json!("pending"), &json!("ada"))
        );
        let write = &shown["writes"][0];
        assert_eq!(
            (&write["base"], &write["stale"], &write["moves"][0]["percent"]),
            (&json!(first), &json!(false), &json!(1.0))
        );
        assert!(write["changes"].to_string().contains("ranges"), "{write}");
        let approval = format!("{place}/approval");
        let decision = json!({"reason": "looks right"});
        people.refused("own_proposal", "ada", "POST", &approval, &decision);
        people.token("ada again", "ada");
        people.refused("own_proposal", "ada again", "POST", &approval, &decision);
        people.token("ada's friend", "nobody");
        people.refused("own_proposal", "ada's friend", "POST", &approval, &decision);
        people.expect(200, "grace", "POST", &approval, &decision);
        assert!(people.version("f") > first);
        let history = people.expect(200, "ada", "GET", "/api/v1/flags/f/history?limit=1", &Value::Null);
        assert_eq!(
            (&history["items"][0]["actor"], &history["items"][0]["reason"]),
            (&json!("ada (approved by grace)"), &json!("more"))
        );
        people.refused("proposal_closed", "edsger", "POST", &approval, &decision);
        people.refused("proposal_closed", "edsger", "POST", &format!("{place}/rejection"), &decision);
        people.refused("proposal_not_found", "edsger", "POST", "/api/v1/proposals/nothing/approval", &decision);
    });
}

#[test]
fn every_write_but_the_kill_switch_waits() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &protected(1_000));
        people.expect(201, "ada", "POST", "/api/v1/flags", &flag("other", 0, json!({})));
        let first = people.version("f");
        people.expect(200, "ada", "PUT", "/api/v1/flags/f/enabled", &json!({"enabled": false}));
        let killed = people.version("f");
        let weaker = flag("f", 1_000, json!({}));
        let mut edited = protected(1_000);
        edited["enabled"] = false.into();
        edited["description"] = "killed, and edited".into();
        for (method, path, body) in [
            ("PUT", "/api/v1/flags/f/enabled".to_owned(), json!({"enabled": true})),
            ("PUT", "/api/v1/flags/f/rollouts/0".to_owned(), json!({"variant": "new", "percent": 3})),
            ("PUT", "/api/v1/flags/f".to_owned(), weaker),
            ("PUT", "/api/v1/flags/f?override=true&reason=now".to_owned(), protected(50_000)),
            ("PUT", "/api/v1/flags/f".to_owned(), edited),
            ("POST", format!("/api/v1/flags/f/history/{first}/restoration"), Value::Null),
            ("DELETE", "/api/v1/flags/f".to_owned(), Value::Null),
        ] {
            people.expect(202, "ada", method, &path, &body);
        }
        assert_eq!(people.version("f"), killed);
        // The first that is approved makes the others stale: each was made for the version that was.
        let pending = people.expect(200, "ada", "GET", "/api/v1/proposals", &Value::Null);
        let ids: Vec<&str> =
            pending["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 7);
        people.expect(200, "grace", "POST", &format!("/api/v1/proposals/{}/approval", ids[6]), &json!({}));
        for id in &ids[..6] {
            let problem = people.refused(
                "proposal_closed",
                "grace",
                "POST",
                &format!("/api/v1/proposals/{id}/approval"),
                &json!({}),
            );
            assert!(problem["detail"].as_str().unwrap().contains("stale"), "{problem}");
        }
        let withdrawn =
            people.expect(200, "ada", "POST", &format!("/api/v1/proposals/{}/rejection", ids[0]), &json!({}));
        assert_eq!(withdrawn["state"], "withdrawn");
        let rejected = people.expect(
            200,
            "grace",
            "POST",
            &format!("/api/v1/proposals/{}/rejection", ids[1]),
            &json!({"reason": "no"}),
        );
        assert_eq!((&rejected["state"], &rejected["decided_by"]), (&json!("rejected"), &json!("grace")));
        let audit = people.expect(200, "ada", "GET", "/api/v1/audit?limit=500", &Value::Null).to_string();
        for action in ["proposal.create", "proposal.approve", "proposal.withdraw", "proposal.reject"] {
            assert!(audit.contains(action), "{action}");
        }
    });
}

#[test]
fn of_two_who_approve_at_once_one_does() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &protected(0));
        let before = people.version("f");
        let place = people.send("ada", "PUT", "/api/v1/flags/f", &protected(2_000)).location.unwrap();
        let approval = format!("{place}/approval");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let (people, approval) = (&people, &approval);
            let approve = |who| move || people.send(who, "POST", approval, &json!({})).status.as_u16();
            let both: Vec<_> =
                ["grace", "edsger", "grace", "edsger"].map(|who| scope.spawn(approve(who))).into_iter().collect();
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 3, "{statuses:?}");
        assert_eq!(people.version("f"), before + 1, "applied once");
    });
}

#[test]
fn nobody_approves_what_has_expired() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &protected(0));
        let place = people.send("ada", "PUT", "/api/v1/flags/f", &protected(2_000)).location.unwrap();
        database.connection().batch("UPDATE svc_changeover_proposals SET expires_at = created_at").unwrap();
        let problem = people.refused("proposal_closed", "grace", "POST", &format!("{place}/approval"), &json!({}));
        assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
        assert_eq!(people.expect(200, "ada", "GET", &place, &Value::Null)["state"], "expired");
        let pending = people.expect(200, "ada", "GET", "/api/v1/proposals?pending=true", &Value::Null);
        assert_eq!(pending["items"], json!([]));
    });
}

#[test]
fn what_a_protected_flag_stands_on_takes_two_as_well() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/cohorts", &json!({"name": "beta"}));
        people.expect(201, "ada", "POST", "/api/v1/flags", &flag("g", 0, json!({})));
        let mut wanted = protected(0);
        wanted["rules"][0]["cohort"] = "beta".into();
        wanted["prerequisites"] = json!([{"flag": "g", "variants": ["old"]}]);
        people.expect(201, "ada", "POST", "/api/v1/flags", &wanted);
        let problem = people.refused("second_person_needed", "ada", "PUT", "/api/v1/cohorts/beta/ids", &json!("1\n"));
        assert!(problem["detail"].as_str().unwrap().contains("stage"), "{problem}");
        let place = people.send("ada", "PUT", "/api/v1/flags/g", &flag("g", 500, json!({}))).location.unwrap();
        people.expect(200, "grace", "POST", &format!("{place}/approval"), &json!({}));
        let mut described = flag("g", 500, json!({}));
        described["description"] = "moves nobody".into();
        people.expect(200, "ada", "PUT", "/api/v1/flags/g", &described);
    });
}

#[test]
fn the_command_line_proposes_and_decides() {
    each_database(|database| {
        let people = People::new(&database);
        people.expect(201, "ada", "POST", "/api/v1/flags", &protected(0));
        let command = |who: &str, arguments: &[&str], input: &str| {
            changeover().service(&database).args(["--json", "--actor", who]).args(arguments).input(input).run()
        };
        let file = protected(2_000).to_string();
        let proposed = command("ada", &["flag", "set", "-", "--reason", "more"], &file).expect_code(0).json();
        let id = proposed["id"].as_str().unwrap_or_else(|| panic!("{proposed}")).to_owned();
        let list = command("grace", &["proposal", "list"], "").expect_code(0).json();
        assert_eq!(list["items"][0]["id"], json!(id));
        let shown = command("grace", &["proposal", "show", &id], "").expect_code(0).json();
        assert_eq!(shown["writes"][0]["flag"], "f");
        let own = command("ada", &["proposal", "approve", &id], "").expect_code(2);
        assert!(own.stderr.contains("another person"), "{own}");
        let approved = command("grace", &["proposal", "approve", &id, "--reason", "fine"], "").expect_code(0).json();
        assert_eq!(approved["state"], "approved");
        let again = command("ada", &["flag", "delete", "f"], "").expect_code(0).json();
        let id = again["id"].as_str().unwrap();
        let rejected =
            command("grace", &["proposal", "reject", id, "--reason", "we need it"], "").expect_code(0).json();
        assert_eq!(rejected["state"], "rejected");
    });
}
