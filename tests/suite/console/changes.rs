//! The pages of changes: what they tell, and an admin's way through stages and a pause.

use changeover::store::tokens::Role;
use serde_json::{Value, json};

use super::{Browser, Console, FILE, Page};
use crate::support::each_database;

pub const CHANGE: &str = "/console/changes/billing-allocation";

pub fn json_of(page: &Page) -> Value {
    serde_json::from_str(&page.html).unwrap_or_default()
}

pub fn move_to(admin: &Browser<'_>, from: &str, to: &str, more: &[(&str, &str)]) -> Page {
    let csrf = admin.get(&format!("{CHANGE}/stage?to={to}")).hidden("csrf");
    let fields = [&[("csrf", csrf.as_str()), ("from", from), ("to", to)], more].concat();
    admin.post(&format!("{CHANGE}/stage"), &fields)
}

pub fn ended(console: &Console, job: &Value) -> Value {
    let url = job["url"].as_str().unwrap_or_else(|| panic!("{job}"));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let found = json_of(&console.api("GET", url, ""));
        if ["done", "failed", "cancelled"].contains(&found["state"].as_str().unwrap_or_default()) {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "{found}");
        std::thread::yield_now();
    }
}

#[test]
fn without_a_change_the_page_says_how_to_begin() {
    each_database(|database| {
        let console = Console::new(&database);
        for role in [Role::Viewer, Role::Admin] {
            let browser = console.signed_in(role);
            assert_eq!(browser.get("/console").location(), "/console/changes");
            let page = browser.get("/console/changes");
            assert!(
                page.has("No change is installed yet") && page.has("changeover change install FILE"),
                "{}",
                page.html
            );
        }
    });
}

#[test]
fn an_admin_moves_a_change_on_pauses_resumes_and_goes_back() {
    each_database(|database| {
        drop(crate::translation::loaded(&database));
        let console = Console::new(&database);
        assert_eq!(console.api("POST", "/api/v1/changes", &json!({ "file": FILE }).to_string()).status, 201);
        let admin = console.signed_in(Role::Admin);
        assert!(admin.get("/console/changes").has("/console/changes/billing-allocation"));

        let asked = admin.get(&format!("{CHANGE}/stage?to=dualwrite"));
        assert!(asked.has("4 forward blocks will run with each write to the old model"), "{}", asked.html);
        assert_eq!(admin.get(&format!("{CHANGE}/stage?to=live")).status, 409, "one step at a time");
        let moved = move_to(&admin, "off", "dualwrite", &[("reason", "first try")]);
        assert_eq!((moved.status, moved.location()), (303, "/console/changes/billing-allocation?done=moved"));
        let page = admin.get(moved.location());
        for text in ["The stage was moved.", "Stage: dualwrite", "first try", "stage: off → dualwrite", "does not hold"]
        {
            assert!(page.has(text), "{text}: {}", page.html);
        }

        // A gate does not hold: it says which, and what was typed is still there.
        let refused = move_to(&admin, "dualwrite", "shadow", &[("reason", "too early")]);
        assert_eq!(refused.status, 409);
        assert!(refused.has("stays at dualwrite") && refused.has("value=\"too early\""), "{}", refused.html);
        let stale = move_to(&admin, "off", "shadow", &[("reason", "from an old page")]);
        assert!(stale.status == 409 && stale.has("is at dualwrite by now"), "{}", stale.html);
        let silent = move_to(&admin, "dualwrite", "shadow", &[("reason", " "), ("force", "yes")]);
        assert!(silent.status >= 400 && silent.has("role=\"alert\"") && silent.has("checked"), "{}", silent.html);

        pause_and_resume(&admin);

        let job = json_of(&console.api("POST", "/api/v1/changes/billing-allocation/backfill", ""));
        assert_eq!(ended(&console, &job)["state"], "done");
        let job = json_of(&console.api("POST", "/api/v1/changes/billing-allocation/verify", ""));
        assert_eq!(ended(&console, &job)["state"], "done");
        assert_eq!(move_to(&admin, "dualwrite", "shadow", &[]).status, 303);
        let page = admin.get(CHANGE);
        assert!(page.has("keys, complete") && page.has("No report was run yet"), "{}", page.html);
        let forced = move_to(&admin, "shadow", "live", &[("reason", "a rehearsal"), ("force", "yes")]);
        assert_eq!(forced.status, 303, "{}", forced.html);
        let back = admin.get(&format!("{CHANGE}/stage?to=shadow"));
        assert!(back.has("0 recorded assignments to the new side of open periods will go back"), "{}", back.html);
        assert_eq!(move_to(&admin, "live", "shadow", &[("reason", "enough")]).status, 303);

        let audit = json_of(&console.api("GET", "/api/v1/audit", ""));
        let audit = audit.to_string();
        for (action, reason) in
            [("change.stage", "a rehearsal"), ("change.pause", "the queue is full"), ("change.resume", "")]
        {
            assert!(audit.contains(action) && audit.contains(reason), "{action}: {audit}");
        }
    });
}

fn pause_and_resume(admin: &Browser<'_>) {
    let form = admin.get(&format!("{CHANGE}/pause"));
    assert!(form.has("0 keys wait") && form.has("name=\"record_keys\""), "{}", form.html);
    let csrf = form.hidden("csrf");
    let silent = admin.post(&format!("{CHANGE}/pause"), &[("csrf", &csrf), ("reason", " "), ("record_keys", "yes")]);
    assert!(
        silent.status == 422 && silent.has("needs a `reason`") && silent.has("value=\"yes\" checked"),
        "{}",
        silent.html
    );
    let paused = admin.post(&format!("{CHANGE}/pause"), &[("csrf", &csrf), ("reason", "the queue is full")]);
    assert_eq!(paused.status, 303, "{}", paused.html);
    let page = admin.get(paused.location());
    assert!(
        page.has("Translation is paused") && page.has("the queue is full") && !page.has("/pause\""),
        "{}",
        page.html
    );
    assert!(admin.get("/console/changes").has("badge bad\">paused"));
    let again = admin.post(&format!("{CHANGE}/pause"), &[("csrf", &csrf), ("reason", "again")]);
    assert_eq!(again.status, 409);

    let form = admin.get(&format!("{CHANGE}/resume"));
    assert!(form.has("compared row by row") && form.has("the queue is full"), "{}", form.html);
    let resumed = admin.post(&format!("{CHANGE}/resume"), &[("csrf", &csrf), ("reason", "it is empty again")]);
    assert_eq!(resumed.status, 303, "{}", resumed.html);
    assert!(admin.get(resumed.location()).has("Translation goes on"));
    assert_eq!(admin.get(&format!("{CHANGE}/resume")).status, 409);
}
