//! Who goes where, who may choose, and who is let in during maintenance.

use serde_json::json;

use super::world::{ASK, EDGE, World, flag, session, told};
use crate::support::each_database;

#[test]
fn visitors_go_by_their_groups_recorded_side() {
    each_database(|database| {
        let world = World::new(database);
        assert_eq!(told(&world.ask(&[("cookie", "user=11")])), "old old not_set");
        world.set(&World::settings());
        let sides =
            |world: &World| ["user=11", "user=12", "user=21", "user=99", "", "user="].map(|who| world.told(who));
        let first = [
            "new next assigned",
            "new next assigned",
            "old legacy assigned",
            "old legacy unknown",
            "old legacy anonymous",
            "old legacy anonymous",
        ];
        assert_eq!(sides(&world), first);
        assert_eq!(world.fixture.count("assignment"), 2, "one row for each group, whoever asks how often");

        // Another cohort is the next period's.
        world.ids("PUT", "pilot", "21\n");
        assert_eq!(sides(&world), first);
        let table = changeover::sql::names::own(world.fixture.database.dialect(), "assignment");
        world.fixture.run(&format!("UPDATE {table} SET period = '2020-01'"));
        assert_eq!(world.told("user=21"), "new next assigned");
        assert_eq!(world.told("user=12"), "old legacy assigned");

        // Whatever the visitor's method and path.
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"] {
            assert_eq!(told(&world.ask_at(method, ASK, &[("cookie", "user=21")])), "new next assigned", "{method}");
        }
        for path in ["/", "/a/b%2Fc?min_version=nonsense&maintenance=403", "/edge/other"] {
            let answer =
                world.ask_at("GET", &format!("{ASK}{path}"), &[("cookie", "user=21"), ("changeover-version", "x")]);
            assert_eq!(told(&answer), "new next assigned", "{path}");
        }
        assert_eq!(told(&world.ask_at("GET", "/edge/unknown", &[("cookie", "user=21")])), "old old not_set");
        assert_eq!(told(&world.ask_at("GET", "/edge/..%2F", &[])), "old old not_set");
    });
}

#[test]
fn before_live_everybody_is_old_and_after_it_everybody_is_new() {
    each_database(|database| {
        let world = World::new(database);
        world.set(&World::settings());
        world.fixture.set_stage(changeover::change::Stage::Shadow);
        assert_eq!(
            ["user=11", "user=99", ""].map(|who| world.told(who)),
            ["old legacy before_live", "old legacy unknown", "old legacy anonymous"]
        );
        assert_eq!(world.fixture.count("assignment"), 0);
        world.fixture.set_stage(changeover::change::Stage::Complete);
        assert_eq!(["user=11", "user=99", ""].map(|who| world.told(who)), ["new next everybody"; 3]);
    });
}

#[test]
fn a_flag_of_its_own_moves_visitors_at_once() {
    each_database(|database| {
        let world = World::new(database);
        let rules = json!([{ "cohort": "pilot", "serve": { "variant": "new" } }]);
        world.write("POST", "/api/v1/flags", &flag("copy", &rules, false));
        let mut settings = World::settings();
        settings["flag"] = json!("copy");
        world.set(&settings);
        assert_eq!(
            ["user=11", "user=12", ""].map(|who| world.told(who)),
            ["new next flag", "old legacy flag", "old legacy anonymous"]
        );
        world.ids("PUT", "pilot", "12\n");
        assert_eq!(["user=11", "user=12"].map(|who| world.told(who)), ["old legacy flag", "new next flag"]);
        assert_eq!(world.fixture.count("assignment"), 0, "nothing is recorded");
    });
}

#[test]
fn staff_choose_an_upstream_for_themselves_and_nobody_else_does() {
    each_database(|database| {
        let world = World::new(database);
        world.set(&World::settings());
        let ann = session("ann", &json!({}));
        let eleven = session("11", &json!({}));
        let choosing = |who: &str, upstream: &str| told(&world.ask(&[("cookie", who), ("x-upstream", upstream)]));
        assert_eq!(choosing(&ann, "beta"), "old beta chosen");
        assert_eq!(choosing(&eleven, "legacy"), "new legacy chosen", "the side stays what it is");
        assert_eq!(world.told(&format!("{ann}; upstream=next")), "old next chosen");
        for (who, why) in [
            ("user=ann", "the cookie proves nothing"),
            (session("21", &json!({})).as_str(), "no member of the cohort"),
            (session("ann", &json!({ "exp": 1 })).as_str(), "an old token"),
            (session("ann", &json!({ "aud": "other" })).as_str(), "somebody else's token"),
            ("session=nonsense", "no token"),
            ("", "nobody"),
        ] {
            assert!(!choosing(who, "beta").contains("beta"), "{why}");
        }
        for strange in ["elsewhere", "http://evil.example", "beta, next", "BETA", "beta\tx", "../beta", ""] {
            assert_eq!(choosing(&ann, strange), "old legacy unknown", "{strange}");
        }
        let twice = world.ask(&[("cookie", &ann), ("x-upstream", "beta"), ("x-upstream", "next")]);
        assert_eq!(told(&twice), "old legacy unknown", "of two choices neither counts");
    });
}

#[test]
fn maintenance_keeps_out_whoever_is_not_proved_to_pass() {
    each_database(|database| {
        let world = World::new(database);
        world.set(&World::settings());
        let wish = json!({ "on": true, "reason": "moving house", "retry_after_seconds": 600, "message": "Back at <noon> & not before" });
        world.write("PUT", &format!("{EDGE}/maintenance"), &wish);
        let answer = world.ask(&[("cookie", "user=root")]);
        assert_eq!(answer.status, 503, "a name is no proof: {answer:?}");
        assert_eq!(answer.header("retry-after"), Some("600"));
        assert_eq!(answer.header("x-changeover-maintenance"), Some("on"));
        assert_eq!(answer.header("x-changeover-upstream"), None);
        assert!(answer.body.contains("Back at &lt;noon&gt; &amp; not before"), "{}", answer.body);
        assert!(answer.content_type.starts_with("text/html"));
        let as_403 = world.ask_at("GET", &format!("{ASK}?maintenance=403"), &[]);
        assert_eq!((as_403.status, as_403.header("retry-after")), (403, Some("600")));

        let root = world.ask(&[("cookie", &session("root", &json!({})))]);
        assert_eq!(told(&root), "old legacy unknown");
        assert_eq!(root.header("x-changeover-maintenance"), Some("passed"));
        assert_eq!(world.told(&session("21", &json!({ "role": ["user", "operator"] }))), "old legacy assigned");
        assert_eq!(world.told(&session("21", &json!({ "role": "user" }))), "503");
        assert_eq!(world.told(&session("ann", &json!({}))), "503", "staff are no admins");
        assert_eq!(world.told(&session("root", &json!({ "exp": 1 }))), "503");

        // Settings can be set anew meanwhile, and the end lets everybody in at once.
        world.set(&World::settings());
        assert_eq!(world.told("user=11"), "503");
        world.write("PUT", &format!("{EDGE}/maintenance"), &json!({ "on": false, "reason": "done" }));
        assert_eq!(world.told("user=11"), "new next assigned");
    });
}

#[test]
fn only_a_proxy_with_a_token_or_an_allowed_address_may_ask() {
    each_database(|database| {
        let world = World::new(database);
        world.set(&World::settings());
        // The visitor's own `Authorization` is none of ours, even if it is good.
        let answer = world.server.send_as(&world.token, "GET", ASK, &[("cookie", "user=11")], None);
        assert_eq!((answer.status, answer.header("x-changeover-side")), (401, None));
        let headers = [("cookie", "user=11"), ("x-changeover-token", "co_wrong")];
        assert_eq!(world.server.send_as(&world.token, "GET", ASK, &headers, None).status, 401);
    });
    let world = World::with(crate::support::TestDatabase::sqlite(), |command| {
        command.env("CHANGEOVER_EDGE_ALLOW", "10.0.0.0/8,127.0.0.1")
    });
    world.set(&World::settings());
    for headers in
        [vec![("cookie", "user=11")], vec![("cookie", "user=11"), ("x-changeover-token", "a visitor's nonsense")]]
    {
        assert_eq!(told(&world.server.send_as("x", "GET", ASK, &headers, None)), "new next assigned");
    }
}
