//! The pages of assignments: sides by period, a group's history, and its move.

use changeover::store::tokens::Role;
use serde_json::json;

use super::changes::{CHANGE, json_of, move_to};
use super::reports::filled;
use super::{Browser, Console, Page, encoded};
use crate::support::{TestDatabase, each_database};

/// At live, by force, with a flag that sends some groups to new.
fn live(database: &TestDatabase) -> Console {
    let console = filled(database);
    let flag = json!({ "key": "billing-allocation", "change": "billing-allocation", "type": "string",
        "variants": { "old": "old", "new": "new" }, "default_variant": "old", "off_variant": "old", "rules": [] });
    let made = console.api("POST", "/api/v1/flags", &flag.to_string());
    assert!([200, 201].contains(&made.status), "{}", made.html);
    let admin = console.signed_in(Role::Admin);
    let reason = [("reason", "a rehearsal"), ("force", "yes")];
    assert_eq!(move_to(&admin, "dualwrite", "shadow", &reason).status, 303);
    let asked = admin.get(&format!("{CHANGE}/stage?to=live"));
    assert!(asked.has("By the flag as it is now (version 1) 0 of"), "{}", asked.html);
    assert_eq!(move_to(&admin, "shadow", "live", &reason).status, 303);
    console
}

fn put(browser: &Browser<'_>, fields: &[(&str, &str)]) -> Page {
    let csrf = browser.csrf();
    browser.post(&format!("{CHANGE}/assignments/move"), &[&[("csrf", csrf.as_str())], fields].concat())
}

#[test]
fn before_live_the_page_says_that_nothing_is_recorded() {
    each_database(|database| {
        let console = filled(&database);
        let viewer = console.signed_in(Role::Viewer);
        let page = viewer.get(&format!("{CHANGE}/assignments"));
        assert!(page.has("No side is recorded yet") && page.has("billed by the old model"), "{}", page.html);
        let admin = console.signed_in(Role::Admin);
        assert!(!admin.get(&format!("{CHANGE}/assignments/group?id=1")).has("/assignments/move"));
        assert_eq!(admin.get(&format!("{CHANGE}/assignments/move?group=1")).status, 409);
        assert_eq!(viewer.get("/console/changes/none/assignments").status, 404);
    });
}

#[test]
fn a_group_is_moved_with_a_reason_and_its_history_tells_so() {
    each_database(|database| {
        let console = live(&database);
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        let hostile = "7/<b>&é";
        let group = format!("{CHANGE}/assignments/group?id={}", encoded(hostile));
        let page = admin.get(&group);
        assert!(page.has("Nothing has ever been recorded") && page.has("7/&#60;b&#62;"), "{}", page.html);
        let link = page.html.split('"').find(|text| text.contains("/move?")).unwrap().replace("&amp;", "&");
        let form = admin.get(&link);
        assert!(form.has("Nothing is recorded for it yet") && form.hidden("side") == "new", "{}", form.html);
        let period = form.html.split("name=\"period\"").nth(1).unwrap().split("value=\"").nth(1).unwrap();
        let period = period.split('"').next().unwrap().to_owned();
        let wish = |side, reason| [("group", hostile), ("period", period.as_str()), ("side", side), ("reason", reason)];
        for refused in [
            put(&admin, &wish("new", " ")),
            put(&admin, &wish("sideways", "because")),
            put(&admin, &[("group", hostile), ("period", "soon"), ("side", "new"), ("reason", "because")]),
        ] {
            assert!(refused.status >= 400 && refused.has("role=\"alert\""), "{} {}", refused.status, refused.html);
        }
        let moved = put(&admin, &wish("new", "asked for <i>it</i>"));
        assert_eq!(moved.status, 303, "{}", moved.html);
        let page = viewer.get(moved.location());
        assert!(page.has("is on that side now") && page.has("asked for &#60;i&#62;it") && page.has("moved"));
        assert!(!page.has("/assignments/move"), "a viewer is offered nothing");
        assert_eq!(put(&viewer, &wish("old", "no")).status, 403);
        assert_eq!(viewer.get(&link).status, 403);
        assert!(admin.get(&link).has("recorded on the new side already"), "{}", admin.get(&link).html);

        let list = viewer.get(&format!("{CHANGE}/assignments"));
        assert!(list.has(&period) && list.has("7/&#60;b&#62;"), "{}", list.html);
        let found = viewer.get(&format!("{CHANGE}/assignments?group={}", encoded(hostile)));
        assert_eq!(found.status, 303);
        assert_eq!(viewer.get(found.location()).status, 200);
        assert_eq!(viewer.get(&format!("{CHANGE}/assignments?user=1")).status, 303);
        assert!(viewer.get(&format!("{CHANGE}/assignments?user=nobody-knows")).status >= 400);
        assert_eq!(viewer.get(&format!("{CHANGE}/assignments?period=soon")).status, 422);
        let audit = json_of(&console.api("GET", "/api/v1/audit?action=change.move", ""));
        assert_eq!(audit["items"][0]["reason"], "asked for <i>it</i>", "{audit}");
    });
}
