//! Setting the edge over HTTP and on the command line: who may, what is refused, what the audit log keeps.

use serde_json::json;

use super::world::{EDGE, World, flag};
use crate::support::{changeover, each_database};

#[test]
fn settings_have_versions_and_stand_in_the_audit_log() {
    each_database(|database| {
        let world = World::new(database);
        assert_eq!(world.call("GET", EDGE, &json!({})).status, 404);
        let answer = world.call("PUT", &format!("{EDGE}?reason=first"), &World::settings());
        assert_eq!(answer.status, 201, "{answer:?}");
        let etag = answer.header("etag").unwrap().to_owned();
        world.set(&json!({ "subject": [{ "cookie": "user" }] }));
        let stale = world.server.send_as(
            &world.token,
            "PUT",
            EDGE,
            &[("content-type", "application/json"), ("if-match", &etag)],
            Some(b"{}"),
        );
        assert_eq!(stale.status, 412, "{stale:?}");
        world.write("PUT", &format!("{EDGE}/maintenance"), &json!({ "on": true, "reason": "moving house" }));
        let edge = world.write("GET", EDGE, &json!({}));
        assert_eq!(edge["maintenance"]["reason"], "moving house");
        assert_eq!(edge["settings"]["upstreams"], json!({ "old": "old", "new": "new" }));
        assert_eq!(world.write("GET", "/api/v1/edges", &json!({}))["items"][0], edge);
        let answer = world.call("DELETE", &format!("{EDGE}?reason=over"), &json!({}));
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(world.told("user=11"), "old old not_set");
        let audit = world.write("GET", "/api/v1/audit?subject=edge/billing-allocation", &json!({}));
        let actions: Vec<_> =
            audit["items"].as_array().unwrap().iter().map(|row| (&row["action"], &row["reason"])).collect();
        assert_eq!(
            json!(actions),
            json!([
                ["edge.remove", "over"],
                ["edge.maintenance.begin", "moving house"],
                ["edge.set", "test"],
                ["edge.set", "first"]
            ])
        );
    });
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    each_database(|database| {
        let world = World::new(database);
        world.write("POST", "/api/v1/flags", &json!({
            "key": "other", "type": "boolean", "variants": { "on": true, "off": false }, "default_variant": "on", "off_variant": "off"
        }));
        for (settings, status, said) in [
            (json!({ "subject": [{ "jwt": { "key": "nobodys" } }] }), 422, "--edge-key nobodys="),
            (
                json!({ "subject": [{ "header": "X", "proved": true }], "choice": { "cohort": "ghosts", "cookie": "c" } }),
                422,
                "no cohort `ghosts`",
            ),
            (json!({ "flag": "ghost" }), 422, "does not exist"),
            (json!({ "flag": "other" }), 422, "has not got these variants"),
            (json!({ "flag": "billing-allocation" }), 422, "is the flag of a change"),
            (json!({ "upstreams": { "old": "a", "new": "A B" } }), 400, "is not a name of an upstream"),
            (json!({ "surprise": true }), 400, "unknown field"),
        ] {
            let answer = world.call("PUT", EDGE, &settings);
            assert_eq!(answer.status, status, "{settings}: {answer:?}");
            assert!(answer.body.contains(said), "{settings}: {}", answer.body);
        }
        assert_eq!(world.call("PUT", "/api/v1/changes/misspelt/edge", &json!({})).status, 404);
        assert_eq!(
            world
                .call("PUT", "/api/v1/changes/misspelt/edge/maintenance", &json!({ "on": true, "reason": "x" }))
                .status,
            404
        );
        for wish in [
            json!({ "on": true, "reason": "" }),
            json!({ "on": true, "reason": "x", "retry_after_seconds": 0 }),
            json!({ "on": true, "reason": "x", "retry_after_seconds": 86_401 }),
        ] {
            assert_eq!(world.call("PUT", &format!("{EDGE}/maintenance"), &wish).status, 422, "{wish}");
        }
        // A flag of its own needs no change.
        world.write("POST", "/api/v1/flags", &flag("copy", &json!([]), false));
        assert_eq!(world.call("PUT", "/api/v1/changes/another/edge", &json!({ "flag": "copy" })).status, 201);
    });
}

#[test]
fn only_admins_set_it_and_viewers_read_it() {
    each_database(|database| {
        let world = World::new(database);
        world.set(&World::settings());
        for role in ["evaluate", "write", "viewer"] {
            let made = world.write("POST", "/api/v1/tokens", &json!({ "name": role, "role": role }));
            let token = made["secret"].as_str().unwrap().to_owned();
            let call = |method, path: &str, body: &str| {
                let headers = [("content-type", "application/json")];
                world.server.send_as(&token, method, path, &headers, Some(body.as_bytes())).status
            };
            let maintenance = format!("{EDGE}/maintenance");
            assert_eq!(call("PUT", EDGE, "{}"), 403, "{role}");
            assert_eq!(call("DELETE", EDGE, ""), 403, "{role}");
            assert_eq!(call("PUT", &maintenance, "{\"on\":true,\"reason\":\"x\"}"), 403, "{role}");
            let may_read = if role == "viewer" { 200 } else { 403 };
            assert_eq!((call("GET", EDGE, ""), call("GET", "/api/v1/edges", "")), (may_read, may_read), "{role}");
        }
    });
}

#[test]
fn the_command_line_does_the_same() {
    each_database(|database| {
        let world = World::new(database);
        let run = |arguments: &[&str], input: &str| {
            changeover().service(&world.fixture.database).args(arguments).input(input.to_owned()).run()
        };
        let listed = run(&["edge", "list"], "").expect_code(0);
        assert!(listed.stdout.contains("Nothing is set"), "{listed}");
        let settings = json!({ "subject": [{ "cookie": "user" }] }).to_string();
        run(&["edge", "set", "billing-allocation", "-", "--reason", "try"], &settings).expect_code(0);
        let maintenance =
            ["edge", "maintenance", "billing-allocation", "on", "--reason", "moving", "--retry-after", "60"];
        let begun = run(&maintenance, "").expect_code(0);
        assert!(begun.stdout.contains("moving"), "{begun}");
        crate::servers::fixture::wait_until("the server keeps visitors out", || world.told("user=11") == "503");
        assert_eq!(world.ask(&[]).header("retry-after"), Some("60"));
        let listed = run(&["edge", "list"], "").expect_code(0);
        assert!(listed.stdout.contains("recorded sides") && listed.stdout.contains("old → new"), "{listed}");
        run(&["edge", "maintenance", "billing-allocation", "off", "--reason", "done"], "").expect_code(0);
        let shown = run(&["edge", "show", "billing-allocation", "--json"], "").expect_code(0);
        assert_eq!(shown.json()["settings"]["subject"], json!([{ "cookie": "user" }]), "{shown}");
        run(&["edge", "remove", "billing-allocation", "--reason", "over"], "").expect_code(0);
        for (arguments, input) in [
            (&["edge", "show", "billing-allocation"][..], ""),
            (&["edge", "set", "misspelt", "-"], "{}"),
            (&["edge", "set", "billing-allocation", "-"], "{\"surprise\":1}"),
            (&["edge", "maintenance", "billing-allocation", "on", "--reason", " "], ""),
            (&["edge", "maintenance", "misspelt", "on", "--reason", "x"], ""),
        ] {
            run(arguments, input).expect_code(2);
        }
    });
}
