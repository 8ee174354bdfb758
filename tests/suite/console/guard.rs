//! What other sites, other roles and hostile texts cannot do.

use changeover::store::Origin;
use changeover::store::tokens::{self, Role};

use super::{Console, FILE};
use crate::support::{TestDatabase, each_database};

const STAGE: &str = "/console/changes/billing-allocation/stage";
const FORMS: [&str; 3] =
    [STAGE, "/console/changes/billing-allocation/pause", "/console/changes/billing-allocation/resume"];
const OURS: (&str, &str) = ("Origin", "http://changeover.test");

fn with_change(database: &TestDatabase) -> Console {
    drop(crate::translation::loaded(database));
    let console = Console::new(database);
    install(&console, FILE);
    console
}

fn install(console: &Console, file: &str) {
    let body = serde_json::json!({ "file": file }).to_string();
    let answer = console.api("POST", "/api/v1/changes", &body);
    assert_eq!(answer.status, 201, "{}", answer.html);
}

fn stage(console: &Console) -> String {
    let answer = console.api("GET", "/api/v1/changes/billing-allocation", "").html;
    serde_json::from_str::<serde_json::Value>(&answer).unwrap()["stage"].as_str().unwrap().to_owned()
}

#[test]
fn a_form_that_did_not_come_from_the_console_does_nothing() {
    each_database(|database| {
        let console = with_change(&database);
        let admin = console.signed_in(Role::Admin);
        let csrf = admin.csrf();
        let others = console.signed_in(Role::Admin).csrf();
        assert_ne!(csrf, others, "each session has its own");
        let forged = |csrf: &str, headers: &[(&str, &str)]| {
            let fields = [("csrf", csrf), ("from", "off"), ("to", "dualwrite"), ("reason", "")];
            admin.post_from(STAGE, &fields, headers).status
        };
        assert_eq!(forged("", &[OURS]), 403);
        assert_eq!(forged(&others, &[OURS]), 403);
        assert_eq!(forged(&admin.cookie("changeover_session").unwrap(), &[OURS]), 403);
        assert_eq!(forged(&csrf, &[]), 403, "no browser leaves the origin out");
        for origin in ["http://evil.test", "null", "http://changeover.test.evil.test", "http://changeover.test:81", ""]
        {
            assert_eq!(forged(&csrf, &[("Origin", origin)]), 403, "{origin}");
        }
        assert_eq!(forged(&csrf, &[OURS, ("Sec-Fetch-Site", "cross-site")]), 403);
        assert_eq!(forged(&csrf, &[OURS, ("X-Forwarded-Proto", "https")]), 403, "a plain page posts to one behind TLS");
        assert_eq!(stage(&console), "off");
        assert_eq!(forged(&csrf, &[OURS, ("Sec-Fetch-Site", "same-origin")]), 303);
        assert_eq!(stage(&console), "dualwrite");

        let visitor = console.browser();
        let form = visitor.get("/console/sign-in");
        let fields = [("csrf", form.hidden("csrf")), ("token", console.token(Role::Admin).to_owned())];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(visitor.post_from("/console/sign-in", &fields, &[("Origin", "http://evil.test")]).status, 403);
        assert_eq!(
            console.browser().post("/console/sign-in", &fields).status,
            403,
            "nobody is signed in as somebody else"
        );
    });
}

#[test]
fn a_viewer_is_offered_nothing_that_would_fail_and_cannot_do_it_anyway() {
    each_database(|database| {
        let console = with_change(&database);
        let (viewer, admin) = (console.signed_in(Role::Viewer), console.signed_in(Role::Admin));
        let page = viewer.get("/console/changes/billing-allocation");
        assert_eq!(page.status, 200);
        assert_eq!(page.html.matches("<form").count(), 1, "only the way out: {}", page.html);
        assert!(!page.has("/stage?to=") && !page.has("/pause\""), "{}", page.html);
        assert!(admin.get("/console/changes/billing-allocation").has("/stage?to=dualwrite"));
        let csrf = viewer.csrf();
        for path in FORMS {
            let asked = viewer.get(&format!("{path}?to=dualwrite"));
            assert_eq!(asked.status, 403, "{path}");
            assert!(asked.has("role admin") && asked.has("<h1>"), "{}", asked.html);
            let fields = [("csrf", csrf.as_str()), ("from", "off"), ("to", "dualwrite"), ("reason", "because")];
            assert_eq!(viewer.post(path, &fields).status, 403, "{path}");
        }
        assert_eq!(stage(&console), "off");
        for path in FORMS {
            let nobody = console.browser();
            assert_eq!(nobody.get(path).status, 303, "{path}");
            assert_eq!(nobody.post(path, &[("to", "dualwrite")]).location(), "/console/sign-in", "{path}");
        }
    });
}

#[test]
fn every_answer_keeps_other_sites_and_inline_script_out() {
    each_database(|database| {
        let console = with_change(&database);
        assert_eq!(console.api("POST", "/api/v1/cohorts", r#"{"name":"beta"}"#).status, 201);
        let (admin, nobody) = (console.signed_in(Role::Admin), console.browser());
        let paths = [
            "/console",
            "/console/changes",
            "/console/changes/billing-allocation",
            "/console/changes/billing-allocation/stage?to=dualwrite",
            "/console/changes/billing-allocation/stage?to=nowhere",
            "/console/changes/billing-allocation/reports",
            "/console/changes/billing-allocation/explanations",
            "/console/changes/billing-allocation/explanations/new",
            "/console/changes/billing-allocation/assignments",
            "/console/changes/billing-allocation/assignments/group?id=7",
            "/console/changes/billing-allocation/start/verify",
            "/console/cohorts",
            "/console/cohorts/beta",
            "/console/cohorts/beta/edit",
            "/console/cohorts/beta/remove",
            "/console/cohorts/beta/upload",
            "/console/cohorts/beta/history",
            "/console/cohorts/not-there",
            "/console/cohorts/%00/history",
            "/console/reports",
            "/console/flags",
            "/console/flags/not-there",
            "/console/flags/not-there/kill",
            "/console/flags/not-there/rollout",
            "/console/flags/not-there/history",
            "/console/flags/not-there/explain?user=1",
            "/console/flags/not-there/edit",
            "/console/new-flag",
            "/console/new-flag?as=json",
            "/console/proposals",
            "/console/proposals/none",
            "/console/audit",
            "/console/audit/verification",
            "/console/tokens",
            "/console/settings",
            "/console/jobs/none",
            "/console/events?about=nothing",
            "/console/changes/not-there",
            "/console/changes/%00",
            "/console/nothing-here",
            "/console/sign-in",
            "/console/assets/console.css",
            "/console/assets/console.js",
            "/console/assets/icon.svg",
            "/console/assets/other",
        ];
        for (path, page) in paths.iter().flat_map(|path| [(path, admin.get(path)), (path, nobody.get(path))]) {
            let header = |name: &str| page.headers.get(name).map_or("", String::as_str);
            let policy = header("content-security-policy");
            assert!(
                policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                "{path}: {policy}"
            );
            assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
            assert_eq!((header("x-content-type-options"), header("x-frame-options")), ("nosniff", "DENY"), "{path}");
            assert_eq!(header("referrer-policy"), "same-origin", "{path}");
            assert!(
                path.contains("/assets/console") || path.contains("icon") || header("cache-control") == "no-store",
                "{path}"
            );
            assert!(page.status < 500, "{path}: {}", page.status);
            assert!(!page.has("style=") && !page.has("<style") && !page.has(" onclick"), "{path}");
            assert!(!page.has("<script>") && !page.has("https://"), "{path}: {}", page.html);
            if page.status >= 400 {
                assert!(page.has("<h1>") && header("content-type").starts_with("text/html"), "{path}: {}", page.html);
            }
        }
        assert_eq!(admin.get("/console/changes/not-there").status, 404);
        assert_eq!(admin.get("/console/nothing-here").status, 404);
        assert_eq!(console.browser().post("/console/changes", &[]).status, 405);
    });
}

#[test]
fn a_proxys_prefix_stands_before_every_address() {
    each_database(|database| {
        let limits = changeover::http::limits::Limits::default().behind_proxy(true);
        let console = Console::limited(&database, limits);
        let page = console.send("GET", "/console/sign-in", &[("X-Forwarded-Prefix", "/flags")], "");
        assert!(
            page.has("action=\"/flags/console/sign-in\"") && page.has("href=\"/flags/console/assets/console.css"),
            "{}",
            page.html
        );
        assert!(!page.has("\"/console"), "{}", page.html);
        assert!(page.set_cookies[0].contains("Path=/flags/console"), "{:?}", page.set_cookies);
        let away = console.send("GET", "/console/changes/x", &[("X-Forwarded-Prefix", "/flags")], "");
        assert_eq!(away.location(), "/flags/console/sign-in?to=/changes/x");
    });
}

#[test]
fn hostile_texts_stay_texts() {
    each_database(|database| {
        drop(crate::translation::loaded(&database));
        let console = Console::new(&database);
        let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
        let title = FILE.lines().find(|line| line.starts_with("title")).unwrap();
        install(&console, &FILE.replace(title, &format!("title = '''{hostile}'''")));
        let origin = Origin { actor: "test", reason: "" };
        let token =
            console.store().write(|conn| tokens::create(conn, hostile, Role::Admin, None, origin)).unwrap().text;
        console.refresh();
        let admin = console.browser();
        assert_eq!(admin.sign_in(&token, "").status, 303);
        let fields = |reason| {
            [("csrf", admin.csrf()), ("from", "off".to_owned()), ("to", "dualwrite".to_owned()), ("reason", reason)]
        };
        let sent = |path: &str, fields: &[(&str, String)]| {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            admin.post(path, &fields)
        };
        assert_eq!(sent(STAGE, &fields(hostile.to_owned())).status, 303);
        let again = sent(STAGE, &fields(hostile.to_owned()));
        assert!(again.status == 409 && again.has("is at dualwrite by now"), "{}", again.html);
        assert_eq!(sent(FORMS[1], &fields(hostile.to_owned())).status, 303);
        let refused = sent(FORMS[2], &fields(format!("{hostile}{}", "x".repeat(600))));
        assert_eq!(refused.status, 422);
        let name = "/console/changes/billing-allocation";
        let mut pages = vec![refused, admin.get("/console/changes"), admin.get(name)];
        pages.extend([admin.get(FORMS[2]), admin.get(&format!("{STAGE}?to=shadow"))]);
        for page in pages {
            assert!(page.has("&#60;script&#62;alert(1)"), "it is shown, as text: {}", page.html);
            assert!(!page.has("<script>alert") && !page.has("<img src=x"), "{}", page.html);
        }
        let sides = admin.get(&format!("{name}?done={}", super::encoded(hostile)));
        assert!(sides.status == 200 && !sides.has("role=\"status\""), "only what we say is said");
    });
}
