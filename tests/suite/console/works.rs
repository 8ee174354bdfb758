//! Backfill, verify, repair and retry from a change's page.

use changeover::store::tokens::Role;

use super::changes::{CHANGE, ended, json_of, move_to};
use super::{Browser, Console, FILE};
use crate::support::each_database;
use serde_json::json;

fn start(admin: &Browser<'_>, kind: &str, fields: &[(&str, &str)]) -> String {
    let path = format!("{CHANGE}/start/{kind}");
    let csrf = admin.get(&path).hidden("csrf");
    let sent = admin.post(&path, &[&[("csrf", csrf.as_str())], fields].concat());
    assert_eq!(sent.status, 303, "{kind}: {}", sent.html);
    sent.location().to_owned()
}

fn finish(console: &Console, place: &str) {
    let id = place.rsplit('/').next().unwrap();
    let job = ended(console, &json!({ "url": format!("/api/v1/jobs/{id}") }));
    assert_eq!(job["state"], "done", "{job}");
}

#[test]
fn the_new_model_is_filled_verified_and_repaired_from_the_page() {
    each_database(|database| {
        drop(crate::translation::loaded(&database));
        let console = Console::new(&database);
        assert_eq!(console.api("POST", "/api/v1/changes", &json!({ "file": FILE }).to_string()).status, 201);
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        assert!(!admin.get(CHANGE).has("/start/backfill"), "nothing is filled at stage off");
        let csrf = admin.csrf();
        let early = admin.post(&format!("{CHANGE}/start/backfill"), &[("csrf", &csrf)]);
        assert!(early.status == 409 && early.has("move it to `dualwrite` first"), "{}", early.html);
        assert_eq!(move_to(&admin, "off", "dualwrite", &[]).status, 303);
        let asked = admin.get(&format!("{CHANGE}/start/backfill"));
        assert!(asked.has("0 keys so far, 0 of"), "{}", asked.html);
        for rate in ["fast", "0", "-1"] {
            let path = format!("{CHANGE}/start/backfill");
            let refused = admin.post(&path, &[("csrf", &csrf), ("rate", rate), ("restart", "yes")]);
            assert!(refused.status == 422 && refused.has("value=\"yes\" checked"), "{rate}: {}", refused.html);
        }
        finish(&console, &start(&admin, "backfill", &[("rate", "100000")]));
        assert!(admin.get(CHANGE).has("keys, complete"));
        finish(&console, &start(&admin, "verify", &[]));

        database
            .connection()
            .batch("DELETE FROM charge_allocations WHERE charge_id = (SELECT max(charge_id) FROM charge_allocations)")
            .unwrap();
        finish(&console, &start(&admin, "verify", &[("restart", "yes")]));
        assert!(admin.get(CHANGE).has("missing</span>"), "{}", admin.get(CHANGE).html);
        assert!(admin.get(&format!("{CHANGE}/start/repair")).has("By the last look"));
        finish(&console, &start(&admin, "repair", &[("found", "yes")]));
        finish(&console, &start(&admin, "verify", &[("restart", "yes")]));
        assert!(!admin.get(CHANGE).has("missing</span>"), "{}", admin.get(CHANGE).html);
        let retried = start(&admin, "retry", &[("reason", "the lock is gone")]);
        assert!(admin.get(&retried).has("Everything that waited was tried again"));
        let audit = json_of(&console.api("GET", "/api/v1/audit?action=change.retry", ""));
        assert_eq!(audit["items"][0]["reason"], "the lock is gone");

        let page = viewer.get(CHANGE);
        assert!(page.status == 200 && !page.has("/start/"), "{}", page.html);
        for kind in ["backfill", "verify", "repair", "retry"] {
            let path = format!("{CHANGE}/start/{kind}");
            assert_eq!(viewer.get(&path).status, 403, "{kind}");
            assert_eq!(viewer.post(&path, &[("csrf", &viewer.csrf())]).status, 403, "{kind}");
        }
        assert_eq!(admin.get(&format!("{CHANGE}/start/undo")).status, 400);
    });
}
