//! The pages of flags: the list, a flag, its kill switch, its rollouts, its history and the way back.

use changeover::store::tokens::Role;
use serde_json::{Value, json};

use super::changes::json_of;
use super::{Browser, Console, Page, encoded};
use crate::support::each_database;

pub const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
const ROLLOUT: &str = "/console/flags/new-player/rollout";

/// A boolean flag with these parts besides.
pub fn flag(key: &str, more: &Value) -> Value {
    let mut flag = json!({ "key": key, "type": "boolean", "variants": { "off": false, "on": true },
        "default_variant": "off", "off_variant": "off" });
    flag.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    flag
}

pub fn make(console: &Console, flag: &Value) -> i64 {
    let made = console.api("POST", "/api/v1/flags", &flag.to_string());
    assert_eq!(made.status, 201, "{}", made.html);
    json_of(&made)["version"].as_i64().unwrap()
}

pub fn stored(console: &Console, key: &str) -> Value {
    json_of(&console.api("GET", &format!("/api/v1/flags/{key}"), ""))
}

/// A cohort `beta` of these ids.
pub fn cohort(console: &Console, ids: &[&str]) {
    assert_eq!(console.api("POST", "/api/v1/cohorts", r#"{"name":"beta"}"#).status, 201);
    let bearer = format!("Bearer {}", console.token(Role::Admin));
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "text/plain")];
    let put = console.send("PUT", "/api/v1/cohorts/beta/ids", &headers, &ids.join("\n"));
    assert!((200..300).contains(&put.status), "{} {}", put.status, put.html);
}

pub fn send(browser: &Browser<'_>, path: &str, fields: &[(&str, &str)]) -> Page {
    let csrf = browser.csrf();
    browser.post(path, &[&[("csrf", csrf.as_str())], fields].concat())
}

pub fn forms(page: &Page) -> usize {
    page.html.matches("<form").count() - page.html.matches("method=\"get\"").count()
}

#[test]
fn flags_are_listed_searched_and_empty_at_first() {
    each_database(|database| {
        let console = Console::new(&database);
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        let empty = admin.get("/console/flags");
        assert!(empty.has("There is no flag yet") && empty.has("/console/new-flag"), "{}", empty.html);
        let empty = viewer.get("/console/flags");
        assert!(empty.has("An admin makes the first one") && !empty.has("/console/new-flag"), "{}", empty.html);

        let rules = json!({ "description": HOSTILE, "rules": [{ "cohort": "beta", "serve": { "variant": "on" } }] });
        make(&console, &flag("new-player", &rules));
        make(&console, &flag("old-player", &json!({ "enabled": false, "description": "The one before" })));
        let page = viewer.get("/console/flags");
        for text in ["in the cohort beta: on, all others off", "off to everybody", "&#60;script&#62;", "does not exist"]
        {
            assert!(page.has(text), "{text}: {}", page.html);
        }
        assert!(!page.has("<script>alert") && !page.has("<img src=x"), "{}", page.html);
        assert_eq!(forms(&page), 1, "only the way out");
        for (query, found) in [
            ("text=BEFORE", vec!["old-player"]),
            ("text=player", vec!["new-player", "old-player"]),
            ("stale=yes", vec!["new-player"]),
            ("cohort=beta", vec!["new-player"]),
            ("cohort=beta&text=before", vec![]),
        ] {
            let page = viewer.get(&format!("/console/flags?{query}"));
            let shown: Vec<_> =
                ["new-player", "old-player"].into_iter().filter(|key| page.has(&format!("flags/{key}\""))).collect();
            assert_eq!(shown, found, "{query}: {}", page.html);
        }
        assert!(viewer.get("/console/flags?text=nothing-like-it").has("No flag is so."));
    });
}

#[test]
fn a_flags_page_tells_its_rules_in_words() {
    each_database(|database| {
        let console = Console::new(&database);
        let rules = json!([
            { "description": HOSTILE, "cohort": "beta", "clauses": [
                { "attribute": "plan", "operator": "in", "values": ["pro", "<b>team"] }], "serve": { "variant": "on" } },
            { "except_cohort": "staff", "serve": { "schedule": [{ "from": "2027-01-01T00:00:00Z", "variant": "on" }] } },
            { "serve": { "rollout": { "ranges": [
                { "variant": "on", "from": 0, "to": 12500 }, { "variant": "off", "from": 12500, "to": 100_000 }] } } },
        ]);
        make(&console, &flag("payments", &json!({})));
        let more = json!({ "rules": rules, "expires": "2030-01-31",
            "prerequisites": [{ "flag": "payments", "variants": ["off"] }],
            "protection": { "reason_required": true, "percent_per_hour": 50.0 } });
        let made = console.api("POST", "/api/v1/flags?reason=first", &flag("new-player", &more).to_string());
        assert_eq!(made.status, 201, "{}", made.html);
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        let page = viewer.get("/console/flags/new-player");
        for text in [
            "href=\"/console/cohorts/beta\"",
            "plan in &#34;pro&#34; or &#34;&#60;b&#62;team&#34;",
            "not in the cohort",
            "on from 2027-01-01T00:00:00Z",
            "on 12.5 %",
            "href=\"/console/flags/payments\"",
            "expires after 2030-01-31",
            "At most 50 %",
            "Every write says why",
            "by 3 rules, whoever is left off",
            "Evaluations",
            "the flag was made",
            "first",
        ] {
            assert!(page.has(text), "{text}: {}", page.html);
        }
        assert!(!page.has("<script>alert") && !page.has("<img src=x"), "{}", page.html);
        assert!(!page.has("/kill") && !page.has("/edit") && forms(&page) == 1, "{}", page.html);
        let page = admin.get("/console/flags/new-player");
        assert!(page.has("/console/flags/new-player/kill") && page.has("/rollout?rule=2"), "{}", page.html);
        assert!(!page.has("/rollout?rule=1\""), "a schedule has no share");
        assert_eq!(admin.get(&format!("{ROLLOUT}?rule=1")).status, 409);
        assert_eq!(admin.get(&format!("{ROLLOUT}?rule=9")).status, 422);
        assert_eq!(admin.get("/console/flags/nobody").status, 404);
    });
}

#[test]
fn the_kill_switch_is_thrown_with_a_reason_and_released() {
    each_database(|database| {
        let console = Console::new(&database);
        cohort(&console, &["1", "2", "3"]);
        make(&console, &flag("new-player", &json!({ "rules": [{ "cohort": "beta", "serve": { "variant": "on" } }] })));
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        let kill = "/console/flags/new-player/kill";
        let asked = admin.get(kill);
        for text in ["Everybody gets off = false", "3 of 3 subjects would get another variant", "0 times in the last"] {
            assert!(asked.has(text), "{text}: {}", asked.html);
        }
        assert_eq!(send(&admin, kill, &[("reason", " ")]).status, 422, "a reason is asked for");
        assert_eq!(stored(&console, "new-player")["flag"]["enabled"], true);
        let done = send(&admin, kill, &[("reason", HOSTILE)]);
        assert_eq!((done.status, done.location()), (303, "/console/flags/new-player?done=killed"), "{}", done.html);
        let page = viewer.get(done.location());
        assert!(page.has("The kill switch is thrown") && page.has("&#60;script&#62;alert(1)"), "{}", page.html);
        assert!(page.has("~ enabled: true → false") && !page.has("<script>alert"), "{}", page.html);
        assert_eq!(stored(&console, "new-player")["flag"]["enabled"], false);
        assert_eq!(admin.get(kill).status, 409, "it is off already");

        let on = "/console/flags/new-player/enable";
        assert!(admin.get(on).has("Its rules decide again"), "{}", admin.get(on).html);
        assert_eq!(send(&admin, on, &[("reason", "mended")]).status, 303);
        assert_eq!(stored(&console, "new-player")["flag"]["enabled"], true);
        for path in [kill, on] {
            assert_eq!(viewer.get(path).status, 403, "{path}");
            assert_eq!(send(&viewer, path, &[("reason", "no")]).status, 403, "{path}");
            assert_eq!(admin.post(path, &[("csrf", "forged"), ("reason", "no")]).status, 403, "{path}");
        }
        let audit = json_of(&console.api("GET", "/api/v1/audit?subject=flag/new-player", ""));
        assert_eq!(audit["items"][0]["reason"], "mended", "{audit}");
    });
}

#[test]
fn a_share_is_changed_after_a_look_and_only_over_the_version_that_was_seen() {
    each_database(|database| {
        let console = Console::new(&database);
        let ids: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        cohort(&console, &ids.iter().map(String::as_str).collect::<Vec<_>>());
        let version = make(&console, &flag("new-player", &json!({}))).to_string();
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        assert!(admin.get("/console/flags/new-player").has("/rollout?rule=0"), "a rule can be added");
        let form = admin.get(&format!("{ROLLOUT}?rule=0"));
        assert!(form.has("type=\"range\"") && form.has("on (now 0 %)") && forms(&form) == 1, "{}", form.html);

        // Without script the slider counts where no number is written.
        let look = format!("{ROLLOUT}?rule=0&look=yes&variant=on&percent=&slide=50&cohort=beta");
        let page = admin.get(&look);
        assert!(page.has("on goes from 0 % to 50 %") && page.has("of 40 subjects would get another"), "{}", page.html);
        assert!(page.has("At most 50 % of all subjects"), "{}", page.html);
        assert_eq!(page.hidden("version"), version);
        let page = viewer.get(&format!("{ROLLOUT}?rule=0&look=yes&variant=on&percent=12.5&users=7%0A%7Bnonsense"));
        assert!(page.has("of 1 subject would get") && page.has("Not counted: line 2"), "{}", page.html);
        assert_eq!(forms(&page), 1, "a viewer may look");
        for bad in ["12,5", "100.5", "0.0001", "%2B101", "-1"] {
            let page = admin.get(&format!("{ROLLOUT}?rule=0&look=yes&variant=on&percent={bad}"));
            assert!(page.status >= 400 && page.has("role=\"alert\"") && forms(&page) == 1, "{bad}: {}", page.html);
        }

        let wish = |version: &str, percent: &str, reason: &str| {
            let fields =
                [("version", version), ("rule", "0"), ("variant", "on"), ("percent", percent), ("reason", reason)];
            send(&admin, ROLLOUT, &[&fields[..], &[("cohort", "beta")]].concat())
        };
        assert_eq!(wish(&version, "50", "").status, 422);
        assert_eq!(wish("", "50", "no version").status, 422);
        let done = wish(&version, "50", "the first half");
        assert_eq!((done.status, done.location()), (303, "/console/flags/new-player?done=rolled"), "{}", done.html);
        assert!(admin.get(done.location()).has("on 50 %"), "{}", admin.get(done.location()).html);
        let late = wish(&version, "60", "from an old page");
        assert!(
            late.status == 412 && late.has("role=\"alert\"") && late.has("value=\"from an old page\""),
            "{}",
            late.html
        );
        assert!(late.has("on goes from 50 % to 60 %"), "what would happen by now is shown: {}", late.html);
        assert_eq!(send(&viewer, ROLLOUT, &[("version", &version), ("rule", "0")]).status, 403);
        let share = stored(&console, "new-player");
        let now = share["version"].as_i64().unwrap().to_string();
        assert_eq!(wish(&now, "50", "again").status, 303, "where it stands so already nothing is written");
        assert_eq!(stored(&console, "new-player"), share);
    });
}

#[test]
fn versions_are_compared_and_one_is_restored() {
    each_database(|database| {
        let console = Console::new(&database);
        let first = make(&console, &flag("new-player", &json!({ "description": "one" })));
        let changed = flag("new-player", &json!({ "description": HOSTILE, "default_variant": "on" }));
        let put = console.api("PUT", "/api/v1/flags/new-player?reason=two", &changed.to_string());
        let second = json_of(&put)["version"].as_i64().unwrap();
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        let page = viewer.get("/console/flags/new-player/history");
        assert!(
            page.has("~ default_variant: &#34;off&#34; → &#34;on&#34;") && page.has("the flag was made"),
            "{}",
            page.html
        );
        assert!(!page.has("<script>alert") && !page.has("/restore"), "{}", page.html);
        let diff = viewer.get(&format!("/console/flags/new-player/diff?from={second}&to={first}"));
        assert!(diff.has("~ default_variant") && diff.has(&format!("version {first} → {second}")), "{}", diff.html);
        assert!(viewer.get(&format!("/console/flags/new-player/diff?from={first}&to={first}")).has("Nothing differs"));
        assert_eq!(viewer.get("/console/flags/new-player/diff?from=1&to=999").status, 404);

        let restore = format!("/console/flags/new-player/history/{first}/restore");
        assert_eq!(viewer.get(&restore).status, 403);
        let asked = admin.get(&restore);
        assert!(asked.has("off to everybody") && asked.has("At most 100 %"), "{}", asked.html);
        assert_eq!(asked.hidden("seen"), second.to_string());
        assert_eq!(send(&admin, &restore, &[("seen", "1"), ("reason", "late")]).status, 412);
        let done = send(&admin, &restore, &[("seen", &second.to_string()), ("reason", "as it was")]);
        assert_eq!((done.status, done.location()), (303, "/console/flags/new-player?done=restored"), "{}", done.html);
        assert_eq!(stored(&console, "new-player")["flag"]["description"], "one");
        assert_eq!(admin.get(&restore).status, 409, "there is nothing to restore");

        assert_eq!(console.api("DELETE", "/api/v1/flags/new-player?reason=gone", "").status, 204);
        let gone = viewer.get("/console/flags/new-player");
        assert_eq!((gone.status, gone.location()), (303, "/console/flags/new-player/history"));
        assert!(viewer.get(gone.location()).has("The flag is removed"), "{}", viewer.get(gone.location()).html);
        let asked = admin.get(&restore);
        assert!(asked.has("will be there again") && asked.hidden("seen").is_empty(), "{}", asked.html);
        assert_eq!(send(&admin, &restore, &[("seen", ""), ("reason", "it was needed")]).status, 303);
        assert_eq!(stored(&console, "new-player")["flag"]["description"], "one");
        assert_eq!(viewer.get(&format!("/console/flags/{}/history", encoded("<b>"))).status, 400);
    });
}

#[test]
fn a_flag_is_removed_over_the_version_that_was_seen_unless_others_ask_for_it() {
    each_database(|database| {
        let console = Console::new(&database);
        make(&console, &flag("new-player", &json!({})));
        make(&console, &flag("captions", &json!({ "prerequisites": [{ "flag": "new-player", "variants": ["on"] }] })));
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        let (needed, free) = ("/console/flags/new-player/remove", "/console/flags/captions/remove");
        let page = admin.get(needed);
        assert!(page.has("while other flags ask for it") && forms(&page) == 1, "{}", page.html);
        let asked = admin.get(free);
        assert!(asked.has("0 times in the last 24 hours") && asked.has("FLAG_NOT_FOUND"), "{}", asked.html);
        let seen = asked.hidden("seen");
        let refused = send(
            &admin,
            needed,
            &[("reason", "gone"), ("seen", &stored(&console, "new-player")["version"].to_string())],
        );
        assert_eq!(refused.status, 409, "{}", refused.html);
        assert_eq!(send(&admin, free, &[("reason", " "), ("seen", &seen)]).status, 422, "a reason is asked for");
        assert_eq!(send(&admin, free, &[("reason", "gone"), ("seen", "1")]).status, 412, "another version");
        assert_eq!(
            (viewer.get(free).status, send(&viewer, free, &[("reason", "no"), ("seen", &seen)]).status),
            (403, 403)
        );
        let removed = send(&admin, free, &[("reason", HOSTILE), ("seen", &seen)]);
        assert_eq!((removed.status, removed.location()), (303, "/console/flags?done=removed"), "{}", removed.html);
        assert!(admin.get(removed.location()).has("The flag is removed"));
        assert_eq!(admin.get(free).status, 404);
        assert!(admin.get(needed).has("Remove the flag</button>"), "nobody asks for it any more");
    });
}
