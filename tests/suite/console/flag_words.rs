//! The pages of flags: making and editing one, why a user gets what he gets, and proposals of flags that take two persons.

use changeover::store::Origin;
use changeover::store::tokens::{self, Role};
use serde_json::json;

use super::changes::json_of;
use super::flags::{HOSTILE, cohort, flag, forms, make, send, stored};
use super::{Browser, Console};
use crate::support::each_database;

const EDIT: &str = "/console/flags/new-player/edit";

/// Another admin than the first one.
fn second(console: &Console) -> Browser<'_> {
    let origin = Origin { actor: "test", reason: "" };
    let made = console.store().write(|conn| tokens::create(conn, "grace", Role::Admin, None, origin)).unwrap();
    console.refresh();
    let browser = console.browser();
    assert_eq!(browser.sign_in(&made.text, "").status, 303);
    browser
}

#[test]
fn a_flag_is_made_by_the_short_form_or_as_json() {
    each_database(|database| {
        let console = Console::new(&database);
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        let new = "/console/new-flag";
        assert_eq!(viewer.get(new).status, 403);
        assert_eq!(send(&viewer, new, &[("as", "short"), ("do", "write")]).status, 403);
        let form = admin.get(new);
        assert!(form.has("name=\"key\"") && form.has("new-flag?as=json"), "{}", form.html);
        let wish = |key: &str, on: &str| {
            let fields = [("as", "short"), ("do", "write"), ("key", key), ("description", HOSTILE), ("on", on)];
            send(&admin, new, &[&fields[..], &[("off", "off"), ("serves", "off"), ("reason", "a start")]].concat())
        };
        for (key, on) in [("no key", "on"), ("", "on"), ("good", "off"), ("good", "")] {
            let refused = wish(key, on);
            assert!(refused.status == 422 && refused.has("role=\"alert\""), "{key} {on}: {}", refused.html);
            assert!(!refused.has("<script>alert") && refused.has("&#60;script&#62;"), "{}", refused.html);
        }
        let made = wish("new-player", "on");
        assert_eq!((made.status, made.location()), (303, "/console/flags/new-player?done=created"), "{}", made.html);
        let page = viewer.get(made.location());
        assert!(page.has("off to everybody") && page.has("a start") && page.has("role=\"status\""), "{}", page.html);
        assert_eq!(wish("new-player", "on").status, 409, "there is one already");

        let written =
            flag("by-hand", &json!({ "rules": [{ "cohort": "beta", "serve": { "variant": "on" } }] })).to_string();
        assert!(admin.get("/console/new-flag?as=json").has("<textarea id=\"json\""));
        let seen = send(&admin, new, &[("do", "look"), ("json", &written)]);
        assert!(seen.status == 200 && seen.has("There will be a flag by-hand: in the cohort beta"), "{}", seen.html);
        assert_eq!(console.api("GET", "/api/v1/flags/by-hand", "").status, 404, "nothing is written by looking");
        assert_eq!(send(&admin, new, &[("do", "write"), ("json", &written), ("reason", "json")]).status, 303);
        assert_eq!(stored(&console, "by-hand")["flag"]["rules"][0]["cohort"], "beta");
    });
}

#[test]
fn a_flag_is_edited_as_json_with_its_mistakes_and_differences() {
    each_database(|database| {
        let console = Console::new(&database);
        cohort(&console, &["1", "2"]);
        make(&console, &flag("new-player", &json!({ "rules": [{ "cohort": "beta", "serve": { "variant": "off" } }] })));
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        assert_eq!(viewer.get(EDIT).status, 403);
        let form = admin.get(EDIT);
        let version = form.hidden("version");
        assert!(form.has("&#34;key&#34;: &#34;new-player&#34;"), "{}", form.html);
        let bad = flag(
            "new-player",
            &json!({ "default_variant": "sideways", "description": HOSTILE,
            "rules": [{ "clauses": [{ "attribute": "plan", "operator": "resembles", "value": 1 }], "serve": { "variant": "up" } }] }),
        );
        let refused = send(&admin, EDIT, &[("do", "look"), ("version", &version), ("json", &bad.to_string())]);
        assert_eq!(refused.status, 422);
        for text in ["<code>default_variant</code>", "rules[0].serve", "rules[0].clauses[0].operator", "mistakes in it"]
        {
            assert!(refused.has(text), "{text}: {}", refused.html);
        }
        assert!(!refused.has("<script>alert") && !refused.has("do\" value=\"write\""), "{}", refused.html);
        for text in ["{", "[]", "", &flag("another", &json!({})).to_string()] {
            let refused = send(&admin, EDIT, &[("do", "look"), ("version", &version), ("json", text)]);
            assert!(refused.status == 422 && refused.has("role=\"alert\""), "{text}: {}", refused.html);
        }
        let good =
            flag("new-player", &json!({ "rules": [{ "cohort": "beta", "serve": { "variant": "on" } }] })).to_string();
        let seen = send(&admin, EDIT, &[("do", "look"), ("version", &version), ("json", &good)]);
        for text in ["~ rules/0/serve/variant", "2 of 2 subjects would get another variant", "off → on: 2 subjects"] {
            assert!(seen.has(text), "{text}: {}", seen.html);
        }
        let save = |version: &str, reason: &str| {
            send(&admin, EDIT, &[("do", "write"), ("version", version), ("json", &good), ("reason", reason)])
        };
        assert_eq!(save(&version, "").status, 422);
        assert_eq!(save("", "no version").status, 422);
        assert_eq!(save("1", "another version").status, 412);
        assert_eq!(save(&version, "beta is ready").location(), "/console/flags/new-player?done=edited");
        assert_eq!(save(&version, "from an old page").status, 412);
        let long = "x".repeat(100_000);
        let large = flag("new-player", &json!({ "description": long }));
        let seen = send(&admin, EDIT, &[("do", "look"), ("version", "1"), ("json", &large.to_string())]);
        assert!(seen.status == 200 || seen.status == 422, "a large flag can be sent: {}", seen.status);
    });
}

#[test]
fn why_a_user_gets_what_he_gets_is_told_in_words() {
    each_database(|database| {
        let console = Console::new(&database);
        cohort(&console, &["1", "2"]);
        let rules = json!({ "rules": [
            { "clauses": [{ "attribute": "plan", "operator": "equals", "value": "pro" }], "serve": { "variant": "on" } },
            { "cohort": "beta", "serve": { "variant": "on" } }] });
        let first = make(&console, &flag("new-player", &rules));
        assert_eq!(console.api("PUT", "/api/v1/flags/new-player/enabled", r#"{"enabled":false}"#).status, 200);
        let viewer = console.signed_in(Role::Viewer);
        let why = |query: &str| viewer.get(&format!("/console/flags/new-player/explain{query}"));
        assert!(why("").status == 200 && !why("").has("Step by step"));
        assert!(why("?user=1").has("the kill switch is thrown"), "{}", why("?user=1").html);
        let then = why(&format!("?user=1&version={first}"));
        for text in
            ["<bdi>1</bdi> gets on", "rules[0]", "listed in `beta`", "generation", "rules[1] matches and serves"]
        {
            assert!(then.has(text), "{text}: {}", then.html);
        }
        for (open, close) in [("<ul>", "</ul>"), ("<li>", "</li>")] {
            assert_eq!(then.html.matches(open).count(), then.html.matches(close).count(), "{}", then.html);
        }
        let by_plan = why(&format!("?user=9&version={first}&context=%7B%22plan%22%3A%22pro%22%7D"));
        assert!(by_plan.has("rules[0] matches") && forms(&by_plan) == 1, "{}", by_plan.html);
        for (query, status) in [
            ("?user=1&version=999", 404),
            ("?user=1&version=soon", 422),
            ("?user=1&context=%7B", 422),
            ("?user=1&period=x", 422),
        ] {
            let page = why(query);
            assert!(page.status == status && page.has("role=\"alert\""), "{query}: {} {}", page.status, page.html);
        }
        let hostile = why(&format!("?user={}", super::encoded(HOSTILE)));
        assert!(hostile.has("&#60;script&#62;") && !hostile.has("<script>alert"), "{}", hostile.html);
        assert_eq!(viewer.get("/console/flags/nobody/explain?user=1").status, 404);
    });
}

#[test]
fn a_flag_that_takes_two_persons_is_proposed_and_approved_by_another() {
    each_database(|database| {
        let console = Console::new(&database);
        let version = make(&console, &flag("new-player", &json!({ "protection": { "two_person": true } }))).to_string();
        let (ada, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        let grace = second(&console);
        assert!(ada.get("/console/proposals").has("Nothing waits"));
        let rollout = "/console/flags/new-player/rollout";
        let asked = ada.get(&format!("{rollout}?rule=0&look=yes&variant=on&percent=25"));
        assert!(asked.has("The flag takes two persons") && asked.has("Propose 25 %"), "{}", asked.html);
        let propose = |percent: &str, version: &str| {
            let wish = [("version", version), ("rule", "0"), ("variant", "on"), ("percent", percent)];
            let sent = send(&ada, rollout, &[&wish[..], &[("reason", HOSTILE)]].concat());
            assert_eq!(sent.status, 303, "{}", sent.html);
            let place = sent.location().split('?').next().unwrap().to_owned();
            assert!(place.starts_with("/console/proposals/"), "{place}");
            place
        };
        let place = propose("25", &version);
        assert_eq!(stored(&console, "new-player")["version"].to_string(), version, "nothing is written yet");
        for page in
            [ada.get("/console/proposals"), viewer.get("/console/flags/new-player"), viewer.get("/console/flags")]
        {
            assert!(page.has("/console/proposals") && !page.has("<script>alert"), "{}", page.html);
        }
        let own = ada.get(&place);
        assert!(own.has("You proposed this") && own.has("Withdraw") && !own.has("Approve and apply"), "{}", own.html);
        assert_eq!(send(&ada, &format!("{place}/approve"), &[("reason", "mine")]).status, 403);
        let read = viewer.get(&place);
        assert!(read.has("At most 25 %") && read.has("An admin other than") && forms(&read) == 1, "{}", read.html);
        assert_eq!(send(&viewer, &format!("{place}/approve"), &[("reason", "no")]).status, 403);
        // Who approves must have a token that is older than the proposal.
        assert!(grace.get(&place).has("Approve and apply"));
        assert_eq!(send(&grace, &format!("{place}/approve"), &[("reason", " ")]).status, 422);
        let done = send(&grace, &format!("{place}/approve"), &[("reason", "read it")]);
        assert_eq!(done.location(), format!("{place}?done=approved"), "{}", done.html);
        assert!(viewer.get(done.location()).has("approved and applied"));
        assert!(viewer.get("/console/flags/new-player").has("on 25 %"));
        assert_eq!(send(&grace, &format!("{place}/approve"), &[("reason", "twice")]).status, 409);

        let now = stored(&console, "new-player")["version"].to_string();
        let (stale, other) = (propose("50", &now), propose("75", &now));
        assert_eq!(send(&grace, &format!("{other}/approve"), &[("reason", "this one")]).status, 303);
        assert!(grace.get(&stale).has("has changed since this was proposed"), "{}", grace.get(&stale).html);
        assert!(!grace.get(&stale).has("Approve and apply"));
        assert_eq!(send(&grace, &format!("{stale}/approve"), &[("reason", "late")]).status, 409);
        let withdrawn = send(&ada, &format!("{stale}/reject"), &[("reason", "not needed")]);
        assert_eq!(withdrawn.status, 303, "{}", withdrawn.html);
        assert!(viewer.get(&stale).has("withdrawn"));

        // The kill switch needs nobody else; what releases it does.
        assert!(!ada.get("/console/flags/new-player/kill").has("takes two persons:"));
        assert_eq!(send(&ada, "/console/flags/new-player/kill", &[("reason", "stop")]).status, 303);
        assert_eq!(stored(&console, "new-player")["flag"]["enabled"], false);
        let back = send(&ada, "/console/flags/new-player/enable", &[("reason", "go on")]);
        assert!(back.location().starts_with("/console/proposals/"), "{}", back.location());
        assert_eq!(viewer.get("/console/proposals/none").status, 404);
    });
}

#[test]
fn a_limit_of_an_hour_is_set_aside_only_by_saying_so() {
    each_database(|database| {
        let console = Console::new(&database);
        let version =
            make(&console, &flag("new-player", &json!({ "protection": { "percent_per_hour": 5.0 } }))).to_string();
        let admin = console.signed_in(Role::Admin);
        let wish = |more: &[(&str, &str)]| {
            let fields = [("version", version.as_str()), ("rule", "0"), ("variant", "on"), ("percent", "50")];
            send(&admin, "/console/flags/new-player/rollout", &[&fields[..], more].concat())
        };
        let refused = wish(&[("reason", "all at once")]);
        assert!(refused.status == 409 && refused.has("name=\"override\""), "{}", refused.html);
        assert!(refused.has("value=\"all at once\""), "{}", refused.html);
        assert_eq!(wish(&[("reason", "all at once"), ("override", "yes")]).status, 303);
        let audit = json_of(&console.api("GET", "/api/v1/audit?action=flag.override", ""));
        assert_eq!(audit["items"][0]["reason"], "all at once", "{audit}");
    });
}
