//! The page of a change's edge: what is set, maintenance and settings.

use changeover::store::tokens::Role;
use serde_json::json;

use super::changes::CHANGE;
use super::{Console, FILE};
use crate::support::each_database;

#[test]
fn an_admin_keeps_visitors_out_lets_them_in_and_writes_settings() {
    each_database(|database| {
        drop(crate::translation::loaded(&database));
        let console = Console::new(&database);
        let admin = console.signed_in(Role::Admin);
        let (edge, csrf) = (format!("{CHANGE}/edge"), admin.csrf());
        let post = |path: &str, fields: &[(&str, &str)]| {
            admin.post(&format!("{edge}/{path}"), &[&[("csrf", csrf.as_str())], fields].concat())
        };
        let begin = [("wish", "begin"), ("retry_after", "120"), ("message", "<b>soon</b>"), ("reason", "the move")];
        assert_eq!(post("maintenance", &begin).status, 404, "a name that is wrong would keep nobody out");
        assert_eq!(console.api("POST", "/api/v1/changes", &json!({ "file": FILE }).to_string()).status, 201);
        let page = admin.get(&edge);
        assert!(page.has("Nothing is set for this edge yet") && page.has("Keep visitors out"), "{}", page.html);

        let late = post("maintenance", &[("wish", "begin"), ("retry_after", "late"), ("reason", "the move")]);
        assert!(late.status == 422 && late.has("from 1 to 86400") && late.has("value=\"late\""), "{}", late.html);
        assert_eq!(post("maintenance", &[("wish", "begin"), ("retry_after", "5")]).status, 422, "why?");
        let begun = post("maintenance", &begin);
        assert_eq!(begun.status, 303, "{}", begun.html);
        let page = admin.get(begun.location());
        for text in
            ["Maintenance has begun", "120 seconds", "&#60;b&#62;soon", "nobody, as long", "Let visitors in again"]
        {
            assert!(page.has(text), "{text}: {}", page.html);
        }
        let viewer = console.signed_in(Role::Viewer);
        let seen = viewer.get(&edge);
        assert!(seen.has("Visitors are kept out") && seen.html.matches("<form").count() == 1, "{}", seen.html);
        let ended = post("maintenance", &[("wish", "end"), ("reason", "done")]);
        assert!(admin.get(ended.location()).has("Keep visitors out"), "{}", ended.html);

        let version = admin.get(&edge).hidden("seen");
        let mut settings =
            json!({ "subject": [{ "header": "X-User" }], "upstreams": { "old": "rails", "new": "next" } });
        let write = |settings: &serde_json::Value, seen: &str| {
            post("settings", &[("settings", &settings.to_string()), ("seen", seen), ("reason", "two copies")])
        };
        let wrong = post("settings", &[("settings", "{\"subjects\": []}"), ("seen", &version), ("reason", "x")]);
        assert!(wrong.status == 422 && wrong.has("unknown field") && wrong.has("subjects"), "{}", wrong.html);
        let written = write(&settings, &version);
        let page = admin.get(written.location());
        for text in
            ["upstream rails, the new one by next", "1 source of the visitor&#39;s id is asked", "recorded side"]
        {
            assert!(page.has(text), "{text}: {}", page.html);
        }
        assert_eq!(write(&settings, &version).status, 412, "somebody was faster");
        settings["upstreams"]["new"] = json!("rails");
        let twice = write(&settings, &admin.get(&edge).hidden("seen"));
        assert!(twice.status == 422 && twice.has("twice") && twice.has("&#34;rails&#34;"), "{}", twice.html);
        assert!(admin.get(CHANGE).has("Edge and maintenance"));
    });
}
