//! A text that wants to be markup is stored wherever a text is stored; then every page of the console that a link leads to is read, and the
//! report as its own page. Nowhere may it be anything but a text.

use std::collections::{BTreeMap, VecDeque};

use changeover::store::Origin;
use changeover::store::tokens::{self, Role};
use serde_json::json;

use crate::console::changes::{CHANGE, ended, json_of};
use crate::console::reports::run;
use crate::console::{Browser, Console, FILE, Page};
use crate::support::each_database;

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></title>javascript:alert(3)";
/// Of it, what must not stand anywhere as it is.
const MARKUP: [&str; 5] = ["<script>alert", "<img src=x", "</title>javascript", "\"'><", "href=\"javascript:"];

fn reason() -> String {
    format!("reason={}", crate::console::encoded(HOSTILE))
}

/// Stores it through the API, by somebody whose name it is.
fn store(console: &Console, token: &str) {
    let bearer = format!("Bearer {token}");
    let api = |method: &str, path: &str, kind: &str, body: String| {
        let page = console.send(method, path, &[("Authorization", &bearer), ("Content-Type", kind)], &body);
        assert!(page.status < 300, "{method} {path}: {} {}", page.status, page.html);
        page
    };
    let write =
        |method: &str, path: &str, body: serde_json::Value| api(method, path, "application/json", body.to_string());
    let clause = json!({ "attribute": "plan", "operator": "equals", "value": HOSTILE });
    write(
        "POST",
        &format!("/api/v1/cohorts?{}", reason()),
        json!({ "name": "beta", "description": HOSTILE, "conditions": [[clause]] }),
    );
    api("PUT", &format!("/api/v1/cohorts/beta/ids?{}", reason()), "text/plain", format!("{HOSTILE}\nother\n"));
    api("PUT", &format!("/api/v1/cohorts/beta/ids?stage=true&{}", reason()), "text/plain", format!("{HOSTILE}2\n"));
    let rules =
        json!([{ "description": HOSTILE, "cohort": "beta", "clauses": [clause], "serve": { "variant": "on" } }]);
    let flag = json!({ "key": "hostile", "type": "string", "description": HOSTILE, "variants": { "on": HOSTILE, "off": "off" },
        "default_variant": "off", "off_variant": "off", "rules": rules });
    write("POST", &format!("/api/v1/flags?{}", reason()), flag);
    write("PUT", "/api/v1/gates/mailer", json!({ "description": HOSTILE, "single_instance": true }));
    write("POST", "/api/v1/gates/mailer/lease", json!({ "holder": HOSTILE }));
    write("POST", "/api/v1/gates/mailer/pause", json!({ "reason": HOSTILE }));
    write("POST", "/api/v1/tokens", json!({ "name": format!("{HOSTILE}2"), "role": "viewer" }));
    let change = "/api/v1/changes/billing-allocation";
    write("PUT", &format!("{change}/edge?{}", reason()), json!({ "subject": [{ "cookie": "user" }] }));
    write("PUT", &format!("{change}/edge/maintenance"), json!({ "on": true, "reason": HOSTILE, "message": HOSTILE }));
    let differs = json!({ "operation": "total", "id": HOSTILE, "old": { "value": { HOSTILE: HOSTILE } }, "new": { "error": HOSTILE } });
    write("POST", &format!("{change}/observations"), json!([differs]));
    let rule = json!({ "path": "/x", "kind": "trim", "owner": HOSTILE, "reason": HOSTILE });
    write("POST", &format!("{change}/observation-rules"), rule);
}

/// Has a report with an exception, explains that, and signs the next one.
fn report(database: &crate::support::TestDatabase, admin: &Browser<'_>) {
    database
        .connection()
        .batch("UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE charge_id = (SELECT min(charge_id) FROM charge_allocations)
            AND payer_id = (SELECT min(payer_id) FROM charge_allocations WHERE charge_id = (SELECT min(charge_id) FROM charge_allocations))")
        .unwrap();
    let first = run(admin, &[]);
    let csrf = admin.csrf();
    let id = first.rsplit('/').next().unwrap();
    let fields = [
        ("csrf", csrf.as_str()),
        ("report", id),
        ("class", "not_conserved"),
        ("charge", ""),
        ("reason_code", "known"),
        ("text", HOSTILE),
        ("owner", HOSTILE),
        ("expires", "2099-12-31"),
        ("max_count", "9"),
    ];
    let stored = admin.post(&format!("{CHANGE}/explanations"), &fields);
    assert_eq!(stored.status, 303, "{}", stored.html);
    let second = run(admin, &[("periods", "")]);
    let page = admin.get(&second);
    let fields = [
        ("csrf", csrf.as_str()),
        ("sha256", &page.hidden("sha256")),
        ("role", "finance"),
        ("word", "sign"),
        ("comment", HOSTILE),
    ];
    assert_eq!(admin.post(&format!("{second}/sign"), &fields).status, 303);
    admin.get(&second);
}

/// Every page that a link leads to, from the parts of the console on.
fn all_pages(browser: &Browser<'_>) -> BTreeMap<String, Page> {
    let parts = ["changes", "reports", "flags", "cohorts", "gates", "audit", "tokens", "settings"];
    let mut ahead: VecDeque<String> = parts.iter().map(|part| format!("/console/{part}")).collect();
    let mut seen = BTreeMap::new();
    while let Some(path) = ahead.pop_front() {
        if seen.contains_key(&path) || seen.len() > 400 || path.contains("/files/") {
            continue;
        }
        let page = browser.get(&path);
        assert!(page.status < 500, "{path}: {}", page.html);
        let here = path.split('?').next().unwrap();
        for link in page.html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let link = link.split('#').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
            if link.starts_with("/console/") && !link.contains("/assets/") {
                ahead.push_back(link);
            } else if link.starts_with('?') {
                ahead.push_back(format!("{here}{link}"));
            }
        }
        seen.insert(path, page);
    }
    seen
}

#[test]
fn a_stored_text_is_a_text_on_every_page() {
    each_database(|database| {
        drop(crate::translation::loaded(&database));
        let console = Console::new(&database);
        let origin = Origin { actor: "test", reason: "" };
        let token =
            console.store().write(|conn| tokens::create(conn, HOSTILE, Role::Admin, None, origin)).unwrap().text;
        console.refresh();
        let title = FILE.lines().find(|line| line.starts_with("title")).unwrap();
        let file = FILE.replace(title, &format!("title = '''{HOSTILE}'''"));
        assert_eq!(console.api("POST", "/api/v1/changes", &json!({ "file": file }).to_string()).status, 201);
        store(&console, &token);
        let admin = console.browser();
        assert_eq!(admin.sign_in(&token, "").status, 303);
        let stage =
            [("csrf", admin.csrf()), ("from", "off".into()), ("to", "dualwrite".into()), ("reason", HOSTILE.into())];
        let stage = stage.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(admin.post(&format!("{CHANGE}/stage"), &stage).status, 303);
        let job = json_of(&console.api("POST", "/api/v1/changes/billing-allocation/backfill", ""));
        assert_eq!(ended(&console, &job)["state"], "done");
        report(&database, &admin);
        for to in ["shadow", "live"] {
            let step = json!({ "to": to, "force": true, "reason": HOSTILE });
            let moved = console.api("PUT", "/api/v1/changes/billing-allocation/stage", &step.to_string());
            assert_eq!(moved.status, 200, "{}", moved.html);
        }
        let wish = json!({ "groups": [HOSTILE], "side": "old", "period": "2099-12", "reason": HOSTILE });
        let path = "/api/v1/changes/billing-allocation/assignments/moves";
        let moved = console.api("POST", path, &wish.to_string());
        assert_eq!(moved.status, 200, "{}", moved.html);

        let pages = all_pages(&admin);
        assert!(pages.len() > 40, "{:?}", pages.keys());
        let (mut shown, mut wrong) = (0, Vec::new());
        for (path, page) in &pages {
            if !page.headers.get("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
                continue;
            }
            shown += usize::from(page.has("&#60;script&#62;alert(1)") || page.has("&lt;script&gt;alert(1)"));
            wrong.extend(MARKUP.iter().filter(|markup| page.has(markup)).map(|markup| format!("{path}: {markup}")));
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert!(shown > 25, "it is shown on {shown} of {} pages", pages.len());
        assert!(
            pages.keys().any(|path| path.ends_with("/page")),
            "the report's own page is among them: {:?}",
            pages.keys()
        );
        for path in ["/console/changes/none", "/console/nothing", "/console/audit?since=x", "/console/cohorts/beta"] {
            let page = admin.get(&format!(
                "{path}{}text={}",
                if path.contains('?') { '&' } else { '?' },
                crate::console::encoded(HOSTILE)
            ));
            assert!(MARKUP.iter().all(|markup| !page.has(markup)), "{path}: {}", page.html);
        }
    });
}
