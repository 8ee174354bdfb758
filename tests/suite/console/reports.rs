//! The pages of reports: run, read, compare, explain, sign, download; and of the jobs that run them.

use changeover::store::tokens::Role;
use serde_json::json;

use super::changes::{CHANGE, ended, json_of, move_to};
use super::{Browser, Console, FILE, Page};
use crate::support::{TestDatabase, each_database};

const API: &str = "/api/v1/changes/billing-allocation";

/// A console of the change at dualwrite, all of it filled.
pub fn filled(database: &TestDatabase) -> Console {
    drop(crate::translation::loaded(database));
    let console = Console::new(database);
    assert_eq!(console.api("POST", "/api/v1/changes", &json!({ "file": FILE }).to_string()).status, 201);
    assert_eq!(move_to(&console.signed_in(Role::Admin), "off", "dualwrite", &[]).status, 303);
    let job = json_of(&console.api("POST", &format!("{API}/backfill"), ""));
    assert_eq!(ended(&console, &job)["state"], "done");
    console
}

/// Runs a report from its form and returns the address of its page.
pub fn run(admin: &Browser<'_>, fields: &[(&str, &str)]) -> String {
    let csrf = admin.csrf();
    let started = admin.post(&format!("{CHANGE}/reports"), &[&[("csrf", csrf.as_str())], fields].concat());
    assert_eq!(started.status, 303, "{}", started.html);
    let id = started.location().rsplit('/').next().unwrap().to_owned();
    let job = ended(admin.console, &json!({ "url": format!("/api/v1/jobs/{id}") }));
    assert_eq!(job["state"], "done", "{job}");
    let page = admin.get(started.location());
    assert!(page.has("Read the report") && page.has("What it found"), "{}", page.html);
    format!("{CHANGE}/reports/{}", job["result"]["report"].as_str().unwrap())
}

fn sign(browser: &Browser<'_>, report: &str, fields: &[(&str, &str)]) -> Page {
    let page = browser.get(report);
    let known = [("csrf", page.hidden("csrf")), ("sha256", page.hidden("sha256"))];
    let known = known.each_ref().map(|(name, value)| (*name, value.as_str()));
    browser.post(&format!("{report}/sign"), &[&known[..], fields].concat())
}

#[test]
fn without_a_change_or_a_report_the_pages_say_what_to_do() {
    each_database(|database| {
        let console = Console::new(&database);
        assert!(console.signed_in(Role::Viewer).get("/console/reports").has("no change is installed"));
        let console = filled(&database);
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        assert!(admin.get("/console/reports").has("Run the first one"));
        let page = viewer.get(&format!("{CHANGE}/reports"));
        assert!(page.has("No report was run yet") && page.html.matches("<form").count() == 1, "{}", page.html);
        assert!(viewer.get(&format!("{CHANGE}/explanations")).has("Nothing is explained yet"));
        let refused =
            admin.post(&format!("{CHANGE}/reports"), &[("csrf", &admin.csrf()), ("periods", "2026-11 <i>November")]);
        assert_eq!(refused.status, 422);
        assert!(refused.has("`&#60;i&#62;November` is not a period") && refused.has("value=\"2026-11 &#60;i"));
        for path in
            ["reports/none", "reports/none/page", "reports/none/files/report.json", "explanations/none/withdraw"]
        {
            let page = admin.get(&format!("{CHANGE}/{path}"));
            assert!(page.status == 404 && page.has("<h1>") && page.has("<nav"), "{path}: {}", page.html);
        }
        assert_eq!(admin.get("/console/jobs/none").status, 404);
    });
}

#[test]
fn an_admin_runs_reads_explains_compares_and_signs_a_report() {
    each_database(|database| {
        let console = filled(&database);
        let admin = console.signed_in(Role::Admin);
        let first = run(&admin, &[]);
        let page = admin.get(&first);
        for text in ["Every charge is allocated exactly once", "Nobody has signed it", "There is no earlier report"] {
            assert!(page.has(text), "{text}: {}", page.html);
        }
        let off_by_one = "UPDATE charge_allocations SET amount_minor = amount_minor + 1 WHERE charge_id =
            (SELECT min(charge_id) FROM charge_allocations) AND payer_id = (SELECT min(payer_id) FROM charge_allocations
             WHERE charge_id = (SELECT min(charge_id) FROM charge_allocations))";
        database.connection().batch(off_by_one).unwrap();
        let second = run(&admin, &[("since_last", "yes")]);
        let page = admin.get(&second);
        for text in ["1 charge needs an explanation", "Sum differs", "Compared with an earlier report", "Explain all…"]
        {
            assert!(page.has(text), "{text}: {}", page.html);
        }
        assert!(!page.has("value=\"sign\""), "one that is not clean cannot be signed");
        assert!(page.has("new: charge"), "it says which charge is new: {}", page.html);
        let forced = sign(&admin, &second, &[("role", "finance"), ("word", "sign")]);
        assert!(forced.status == 409 && forced.has("role=\"alert\""), "{} {}", forced.status, forced.html);

        explain(&admin, &page, &second);
        let third = run(&admin, &[("periods", "")]);
        let page = admin.get(&third);
        assert!(page.has("Nothing is left to be explained") && page.has("rounding-of-2019"), "{}", page.html);
        let silent = sign(&admin, &third, &[("role", " "), ("word", "sign"), ("comment", "fine")]);
        assert!(silent.status == 422 && silent.has("value=\"fine\""), "{}", silent.html);
        let signed = sign(&admin, &third, &[("role", "finance"), ("word", "sign"), ("comment", "seen")]);
        assert_eq!(signed.status, 303, "{}", signed.html);
        let page = admin.get(signed.location());
        assert!(page.has("You have signed this report") && page.has("signed it") && page.has("seen"), "{}", page.html);
        assert_eq!(sign(&admin, &third, &[("role", "finance"), ("word", "sign")]).status, 409, "twice is once");
        let stale = [("role", "ops"), ("word", "sign"), ("sha256", "0"), ("csrf", &admin.csrf())];
        assert_eq!(admin.post(&format!("{third}/sign"), &stale).status, 409, "another report than was read");
        assert!(admin.get(CHANGE).has(&third), "the change's page leads to it");
        withdraw(&admin);
    });
}

/// From the exception's own link to the stored explanation.
fn explain(admin: &Browser<'_>, page: &Page, report: &str) {
    let link = page.html.split('"').find(|text| text.contains("/explanations/new?") && text.contains("charge="));
    let link = link
        .unwrap_or_else(|| panic!("no exception can be explained: {}", page.html))
        .replace("&amp;", "&")
        .replace("&#38;", "&");
    let form = admin.get(&link);
    assert!(form.has("1 charge is in this class; 1 of them nobody explains"), "{}", form.html);
    assert!(form.has("name=\"max_count\" type=\"number\" min=\"1\" value=\"1\""), "{}", form.html);
    let charge = link.split("charge=").nth(1).unwrap().split('&').next().unwrap();
    let id = report.rsplit('/').next().unwrap();
    let csrf = form.hidden("csrf");
    let wish = |code, owner, expires| {
        let fields = [("csrf", csrf.as_str()), ("report", id), ("class", "not_conserved"), ("charge", charge)];
        let wording = [("reason_code", code), ("text", "A cent was lost in 2019."), ("owner", owner)];
        let fields = [&fields[..], &wording, &[("expires", expires), ("max_count", "1")]].concat();
        admin.post(&format!("{CHANGE}/explanations"), &fields)
    };
    for refused in [
        wish("Not a code", "Kim", "2099-12-31"),
        wish("fine", "", "2099-12-31"),
        wish("fine", "Kim", "2020-01-01"),
        wish("fine", "Kim", "soon"),
    ] {
        assert!(refused.status == 422 && refused.has("A cent was lost in 2019."), "{}", refused.html);
        assert!(refused.has("role=\"alert\"") && refused.has("1 of them nobody explains"), "{}", refused.html);
    }
    let stored = wish("rounding-of-2019", "Kim", "2099-12-31");
    assert_eq!(stored.status, 303, "{}", stored.html);
    let list = admin.get(stored.location());
    assert!(list.has("in force") && list.has("rounding-of-2019") && list.has("counts from the next report on"));
}

fn withdraw(admin: &Browser<'_>) {
    let list = admin.get(&format!("{CHANGE}/explanations"));
    let link = list.html.split('"').find(|text| text.ends_with("/withdraw")).unwrap().to_owned();
    let form = admin.get(&link);
    let (csrf, version) = (form.hidden("csrf"), form.hidden("version"));
    let fields = |reason| [("csrf", csrf.as_str()), ("version", version.as_str()), ("reason", reason)];
    assert_eq!(admin.post(&link, &fields(" ")).status, 422, "it needs a reason");
    assert_eq!(admin.post(&link, &fields("it was found")).status, 303);
    assert_eq!(admin.post(&link, &fields("it was found")).status, 412, "somebody else has changed it meanwhile");
    assert!(admin.get(&format!("{CHANGE}/explanations")).has("withdrawn"));
}

#[test]
fn a_viewer_downloads_every_form_and_is_offered_nothing_else() {
    each_database(|database| {
        let console = filled(&database);
        let report = run(&console.signed_in(Role::Admin), &[]);
        let viewer = console.signed_in(Role::Viewer);
        let page = viewer.get(&report);
        assert_eq!(page.html.matches("method=\"post\"").count(), 1, "only the way out: {}", page.html);
        let files: Vec<&str> = page.html.split('"').filter(|text| text.contains("/files/")).collect();
        assert!(files.len() > 8, "{files:?}");
        for file in files.iter().filter(|file| !file.ends_with(".zip")) {
            let got = viewer.get(file);
            assert_eq!(got.status, 200, "{file}");
            assert!(got.headers["content-disposition"].starts_with("attachment; filename=\""), "{file}");
            assert!(!got.html.is_empty() && !got.html.contains("co_"), "{file}");
        }
        assert_eq!(viewer.get(&format!("{report}/files/other.csv")).status, 404);
        let whole = viewer.get(&format!("{report}/page"));
        let policy = &whole.headers["content-security-policy"];
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(whole.has("sha256-") && whole.headers["x-frame-options"] == "DENY");
        for path in ["explanations/new", "explanations/x/withdraw"] {
            assert_eq!(viewer.get(&format!("{CHANGE}/{path}")).status, 403, "{path}");
        }
        let csrf = viewer.csrf();
        for path in
            ["reports".to_owned(), "explanations".to_owned(), report.replace(&format!("{CHANGE}/"), "") + "/sign"]
        {
            let sent = viewer.post(&format!("{CHANGE}/{path}"), &[("csrf", &csrf), ("role", "finance")]);
            assert_eq!(sent.status, 403, "{path}");
        }
        for path in [report.clone(), format!("{report}/page"), format!("{report}/files/report.json")] {
            assert!(console.browser().get(&path).location().starts_with("/console/sign-in"), "{path}");
        }
    });
}

#[test]
fn a_job_is_cancelled_with_a_reason() {
    each_database(|database| {
        let console = filled(&database);
        let admin = console.signed_in(Role::Admin);
        let job = json_of(&console.api("POST", &format!("{API}/verify"), ""));
        let done = ended(&console, &job);
        let id = done["id"].as_str().unwrap();
        let page = admin.get(&format!("/console/jobs/{id}"));
        assert!(page.has("How it ended") && !page.has("/cancel\""), "{}", page.html);
        assert_eq!(admin.get(&format!("/console/jobs/{id}/cancel")).status, 409, "it has ended");
        let csrf = admin.csrf();
        let late = admin.post(&format!("/console/jobs/{id}/cancel"), &[("csrf", &csrf), ("reason", "too late")]);
        assert!(late.status == 409 && late.has("is done already"), "{}", late.html);

        let change = changeover::primitives::ChangeName::new("another").unwrap();
        let waiting = console.store().write(|conn| {
            let kind = changeover::store::jobs::JobKind::Backfill;
            let new = changeover::store::jobs::NewJob { kind, change: &change, arguments: json!({}), actor: "test" };
            changeover::store::jobs::create(conn, &new)
        });
        let path = format!("/console/jobs/{}", waiting.unwrap().id);
        let sent = admin.post(&format!("{path}/cancel"), &[("csrf", &csrf), ("reason", " ")]);
        assert!([409, 422].contains(&sent.status), "{}", sent.html);
        let viewer = console.signed_in(Role::Viewer);
        assert_eq!(viewer.get(&path).status, 200);
        assert_eq!(viewer.post(&format!("{path}/cancel"), &[("csrf", &viewer.csrf()), ("reason", "x")]).status, 403);
    });
}
