//! Signing in and out: who may, where it leads, what it leaves behind, and when it ends.

use changeover::database::Value;
use changeover::http::limits::{Limits, Rate};
use changeover::store::tokens::{self, Role, token_id};
use changeover::store::{Origin, sessions, sha256};

use super::{Browser, Console};
use crate::api::dump;
use crate::support::each_database;

const NOBODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn a_token_signs_in_once_asked_for_and_leaves_no_secret_behind() {
    each_database(|database| {
        let console = Console::new(&database);
        let browser = console.browser();
        let sent_away = browser.get("/console/changes/billing-allocation?x=1");
        assert_eq!(sent_away.status, 303);
        assert_eq!(sent_away.location(), "/console/sign-in?to=/changes/billing-allocation?x=1");
        let form = browser.get(sent_away.location());
        assert_eq!((form.status, form.hidden("to").as_str()), (200, "/changes/billing-allocation?x=1"));

        let answer = browser.sign_in(console.token(Role::Viewer), "/changes/billing-allocation?x=1");
        assert_eq!((answer.status, answer.location()), (303, "/console/changes/billing-allocation?x=1"));
        let set = answer.set_cookies.iter().find(|set| set.starts_with("changeover_session=")).unwrap();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/console"] {
            assert!(set.contains(part), "{set}");
        }
        assert!(!set.contains("Secure"), "plain HTTP would lose it: {set}");
        assert_eq!(browser.cookie("changeover_visitor"), None);
        assert_eq!(browser.get("/console/sign-in").location(), "/console/changes");

        let secret = browser.cookie("changeover_session").unwrap();
        let everything = dump(&mut database.connection());
        assert!(everything.contains(&sha256(&secret)), "its hash is stored");
        assert!(!everything.contains(&secret) && !everything.contains(console.token(Role::Viewer)));
        assert!(everything.contains("session.start"), "it stands in the audit log");
    });
}

#[test]
fn behind_tls_the_cookie_is_for_tls_only() {
    each_database(|database| {
        let console = Console::new(&database);
        let form = console.send("GET", "/console/sign-in", &[("X-Forwarded-Proto", "https")], "");
        assert!(form.set_cookies[0].contains("; Secure"), "{:?}", form.set_cookies);
    });
}

#[test]
fn who_may_not_sign_in_reads_why_and_the_token_is_not_shown_again() {
    each_database(|database| {
        let console = Console::new(&database);
        let wrong = format!("{}x", console.token(Role::Admin));
        for (token, why) in [
            (wrong.as_str(), "not one of ours"),
            (console.token(Role::Evaluate), "needs viewer or admin"),
            (console.token(Role::Write), "needs viewer or admin"),
            ("", "begins with co_"),
        ] {
            let browser = console.browser();
            let answer = browser.sign_in(token, "/changes");
            assert_eq!(answer.status, 422, "{why}");
            assert!(answer.has(why) && answer.has("role=\"alert\""), "{}", answer.html);
            assert!(token.is_empty() || !answer.has(token), "the token is on the page");
            assert_eq!(browser.cookie("changeover_session"), None);
        }
    });
}

#[test]
fn guessing_is_slowed_down() {
    each_database(|database| {
        let console = Console::limited(&database, Limits::new(None, Rate::new(1, 2)));
        let guess = |nth: u32| console.browser().sign_in(&format!("co_{nth}_x"), "").status;
        assert_eq!([guess(1), guess(2)], [422, 422]);
        let answer = console.browser().sign_in("co_3_x", "");
        assert_eq!(answer.status, 429);
        assert!(answer.headers.contains_key("retry-after") && answer.has("<h1>"), "{answer:?}");
        let good = console.browser().sign_in(console.token(Role::Admin), "");
        assert_eq!(good.status, 303, "a token that is accepted is never turned away for what others got wrong");
    });
}

#[test]
fn a_planted_session_is_never_taken_over() {
    each_database(|database| {
        let console = Console::new(&database);
        let browser = console.browser();
        for name in ["changeover_session", "changeover_visitor"] {
            browser.jar.borrow_mut().insert(name.to_owned(), NOBODY.to_owned());
        }
        assert_eq!(browser.get("/console/changes").status, 303, "a secret that was never given out opens nothing");
        browser.sign_in(console.token(Role::Admin), "");
        let first = browser.cookie("changeover_session").unwrap();
        assert_ne!(first, NOBODY);
        assert_eq!(browser.get("/console/changes").status, 200);

        // Signed in once more in the same browser: another secret, and the one before is worth nothing.
        browser.jar.borrow_mut().remove("changeover_session");
        let form = browser.get("/console/sign-in");
        browser.jar.borrow_mut().insert("changeover_session".to_owned(), first.clone());
        let fields = [("csrf", form.hidden("csrf")), ("token", console.token(Role::Viewer).to_owned())];
        browser.post("/console/sign-in", &fields.each_ref().map(|(name, value)| (*name, value.as_str())));
        assert_ne!(browser.cookie("changeover_session").unwrap(), first);
        assert_eq!(with_session(&console, &first).get("/console/changes").status, 303);
    });
}

fn with_session<'c>(console: &'c Console, secret: &str) -> Browser<'c> {
    let browser = console.browser();
    browser.jar.borrow_mut().insert("changeover_session".to_owned(), secret.to_owned());
    browser
}

#[test]
fn a_session_ends_when_it_is_told_to_and_by_itself() {
    each_database(|database| {
        let console = Console::new(&database);
        let browser = console.signed_in(Role::Viewer);
        let secret = browser.cookie("changeover_session").unwrap();
        let answer = browser.post("/console/sign-out", &[("csrf", &browser.csrf())]);
        assert_eq!((answer.status, answer.location()), (303, "/console/sign-in"));
        assert_eq!(browser.cookie("changeover_session"), None);
        assert_eq!(
            with_session(&console, &secret).get("/console/changes").status,
            303,
            "the cookie alone is worth nothing"
        );
        assert!(dump(&mut database.connection()).contains("session.end"));

        for (column, micros) in [("seen_at", sessions::IDLE_MICROS), ("expires_at", sessions::LIFETIME_MICROS)] {
            let browser = console.signed_in(Role::Viewer);
            assert_eq!(browser.get("/console/changes").status, 200);
            let sql = format!("UPDATE svc_changeover_sessions SET {column} = {column} - $1");
            database.connection().execute(&sql, &[Value::Integer(micros)]).unwrap();
            assert_eq!(browser.get("/console/changes").status, 303, "{column}");
        }
        let left = database.connection().query("SELECT 1 AS one FROM svc_changeover_sessions", &[]).unwrap().len();
        drop(console.signed_in(Role::Viewer));
        let after = database.connection().query("SELECT 1 AS one FROM svc_changeover_sessions", &[]).unwrap().len();
        assert!(after <= left, "sessions that have ended are cleared away: {left}, then {after}");
    });
}

#[test]
fn a_session_falls_with_its_token_and_is_noted_while_it_is_used() {
    each_database(|database| {
        let console = Console::new(&database);
        let browser = console.signed_in(Role::Viewer);
        let seen = || {
            let rows = database.connection().query("SELECT seen_at FROM svc_changeover_sessions", &[]).unwrap();
            rows[0].integer("seen_at").unwrap()
        };
        let at_first = seen();
        browser.get("/console/changes");
        assert_eq!(seen(), at_first, "not with each request");
        let sql = "UPDATE svc_changeover_sessions SET seen_at = seen_at - 120000000";
        database.connection().execute(sql, &[]).unwrap();
        browser.get("/console/changes");
        assert!(seen() >= at_first);

        let id = token_id(console.token(Role::Viewer)).unwrap().to_owned();
        let origin = Origin { actor: "test", reason: "" };
        console.store().write(|connection| tokens::revoke(connection, &id, origin)).unwrap();
        console.refresh();
        assert_eq!(browser.get("/console/changes").status, 303);
    });
}

#[test]
fn signing_in_leads_to_pages_of_the_console_only() {
    each_database(|database| {
        let console = Console::new(&database);
        for to in [
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/../docs",
            "javascript:alert(1)",
            "/a\r\nX: y",
        ] {
            let answer = console.browser().sign_in(console.token(Role::Viewer), to);
            assert_eq!((answer.status, answer.location()), (303, "/console/changes"), "{to:?}");
        }
        let form = console.browser().get("/console/sign-in?to=%22%3E%3Cscript%3Ealert(1)%3C/script%3E");
        assert!(!form.has("<script>alert"), "{}", form.html);
    });
}

#[test]
fn a_link_on_another_site_is_followed_by_who_is_signed_in() {
    each_database(|database| {
        let console = Console::new(&database);
        // The browser keeps the strict cookie back, as it should: the page then asks for itself once more.
        let answer = console.send("GET", "/console/changes/x?to=%3Ca", &[("Sec-Fetch-Site", "cross-site")], "");
        assert_eq!(answer.status, 200);
        assert!(answer.has("http-equiv=\"refresh\" content=\"0; url=/console/changes/x?to=%3Ca\""), "{}", answer.html);
        assert_eq!(console.send("GET", "/console/changes/x", &[("Sec-Fetch-Site", "same-origin")], "").status, 303);
    });
}
