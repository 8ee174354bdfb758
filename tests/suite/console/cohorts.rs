//! Cohorts in the console: the list, one cohort, uploads that are looked at first, the way back, and hostile texts everywhere.

use std::io::Write;

use changeover::store::tokens::{self, Role};
use changeover::store::{Origin, PageRequest, cohort_generations};

use super::{Browser, Console, FILE, Page, encoded};
use crate::support::each_database;

const BETA: &str = "/console/cohorts/beta";
const OURS: (&str, &str) = ("Origin", "http://changeover.test");

/// A form as a browser sends it with a file in it: its parts in their order, each with the name of a file if it has one.
fn multipart(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map(|file| format!("; filename=\"{}\"", file.replace('"', "%22"))).unwrap_or_default();
        write!(body, "--cut\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").unwrap();
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--cut--\r\n");
    body
}

impl Browser<'_> {
    fn post_bytes(&self, path: &str, body: &[u8]) -> Page {
        let jar: Vec<String> = self.jar.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let jar = jar.join("; ");
        let kind = ("Content-Type", "multipart/form-data; boundary=cut");
        self.console.send_bytes("POST", path, &[OURS, kind, ("Cookie", &jar)], body)
    }

    /// Uploads a file to the cohort `beta`.
    fn upload(&self, mode: &str, file: &str, content: &[u8]) -> Page {
        let csrf = self.csrf();
        let parts = [
            ("csrf", None, csrf.as_bytes()),
            ("mode", None, mode.as_bytes()),
            ("format", None, b""),
            ("reason", None, b"the list of November"),
            ("text", None, b""),
            ("file", Some(file), content),
        ];
        self.post_bytes(&format!("{BETA}/upload"), &multipart(&parts))
    }

    /// Sends a form with its token and a reason.
    fn decide(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf();
        self.post(path, &[&[("csrf", csrf.as_str()), ("reason", "because")], fields].concat())
    }
}

fn ids(console: &Console) -> String {
    console.api("GET", "/api/v1/cohorts/beta/ids?format=lines", "").html
}

fn with_beta(database: &crate::support::TestDatabase) -> Console {
    let console = Console::new(database);
    assert_eq!(
        console.api("POST", "/api/v1/cohorts", r#"{"name":"beta","description":"who asked for it"}"#).status,
        201
    );
    console
}

#[test]
fn a_cohort_is_made_found_changed_and_removed() {
    each_database(|database| {
        let console = Console::new(&database);
        let admin = console.signed_in(Role::Admin);
        assert!(admin.get("/console/cohorts").has("There is no cohort yet"));
        let refused = admin.decide("/console/cohorts", &[("name", "not a name"), ("description", "kept")]);
        assert!(refused.status == 422 && refused.has("is not a valid cohort name") && refused.has("kept"));
        let made = admin.decide("/console/cohorts", &[("name", "beta"), ("description", "who asked for it")]);
        assert_eq!((made.status, made.location()), (303, "/console/cohorts/beta?done=created"), "{}", made.html);
        assert_eq!(admin.decide("/console/cohorts", &[("name", "beta")]).status, 409);
        let list = admin.get("/console/cohorts?text=ASKED");
        assert!(list.has("who asked for it") && list.has("unused"), "{}", list.html);
        assert!(admin.get("/console/cohorts?text=other").has("No cohort has this"));

        assert_eq!(
            admin.decide(&format!("{BETA}/ids"), &[("ids", "42\r\n 43 \r\n\r\n44"), ("mode", "add")]).status,
            303
        );
        assert_eq!(ids(&console), "42\n43\n44\n");
        assert_eq!(admin.decide(&format!("{BETA}/ids"), &[("ids", "43\r\n99"), ("mode", "remove")]).status, 303);
        assert_eq!(ids(&console), "42\n44\n");
        let refused = admin.decide(&format!("{BETA}/ids"), &[("ids", "a\tb\r\n45"), ("mode", "add")]);
        assert!(refused.status == 422 && refused.has("line 1 has a control character") && refused.has("a\tb"));
        assert_eq!(ids(&console), "42\n44\n");
        assert!(admin.get(&format!("{BETA}?id=42")).has(">listed</span>"));
        assert!(admin.get(&format!("{BETA}?id=042")).has(">not listed</span>"));
        assert_eq!(admin.get(&format!("{BETA}/download?format=csv")).html, "id\n42\n44\n");

        let form = admin.get(&format!("{BETA}/edit"));
        let seen = form.hidden("seen");
        let json = r#"[[{"attribute":"plan","operator":"equals","value":"pro"}]]"#;
        let edit = |seen: &str, conditions: &str| {
            let fields = [("seen", seen), ("description", "all of <pro>"), ("conditions", conditions)];
            admin.decide(&format!("{BETA}/edit"), &fields)
        };
        let wrong = edit(&seen, r#"[[{"attribute":"plan","operator":"is"}], []]"#);
        assert!(wrong.status == 422 && wrong.has("conditions[0][0]") && wrong.has("conditions[1]"), "{}", wrong.html);
        assert!(edit(&seen, "[[").has("EOF while parsing"), "not JSON is said where it ends");
        assert_eq!(edit(&seen, json).status, 303);
        assert_eq!(edit(&seen, json).status, 412, "somebody else has written");
        let page = admin.get(BETA);
        assert!(page.has("plan is &#34;pro&#34;") && page.has("all of &#60;pro&#62;"), "{}", page.html);

        let form = admin.get(&format!("{BETA}/remove"));
        assert!(form.has("its 2 ids and its conditions"), "{}", form.html);
        let gone = admin.decide(&format!("{BETA}/remove"), &[("seen", &form.hidden("seen"))]);
        assert_eq!(gone.location(), "/console/cohorts?done=removed");
        assert_eq!(admin.get(BETA).status, 404);
        assert!(admin.get(&format!("{BETA}/history")).has("The cohort is removed"));
    });
}

#[test]
fn an_upload_is_looked_at_and_then_activated_or_dropped() {
    each_database(|database| {
        let console = with_beta(&database);
        let admin = console.signed_in(Role::Admin);
        admin.decide(&format!("{BETA}/ids"), &[("ids", "1\n2\n3"), ("mode", "add")]);
        let csv: String = (2..10_002).map(|n| format!("{n},name {n}\n")).collect();
        let staged = admin.upload("replace", "list.csv", format!("id,name\n{csv}2,again\n\"a\tb\",x\n").as_bytes());
        assert_eq!(staged.status, 303, "{}", staged.html);
        let path = staged.location().to_owned();
        let page = admin.get(&path);
        for said in [
            "10,001",
            ">1</dd>",
            "1 line",
            "Line 10003 has a control character",
            "9,998 ids would come",
            "1 id would go",
            "and 9898 more",
            "the list of November",
            "10,000 ids",
        ] {
            assert!(page.has(said), "{said}: {}", page.html);
        }
        assert_eq!(ids(&console), "1\n2\n3\n", "nothing of it is served");
        assert!(admin.get(BETA).has("An upload waits:"));
        let viewer = console.signed_in(Role::Viewer).get(&path);
        assert!(viewer.status == 200 && viewer.html.matches("<form").count() == 1, "{}", viewer.html);
        let seen = page.hidden("seen");
        let unsaid = admin.post(&format!("{path}/activate"), &[("csrf", &admin.csrf()), ("seen", &seen)]);
        assert!(unsaid.status == 422 && unsaid.has("Say why"), "{}", unsaid.html);
        let done = admin.decide(&format!("{path}/activate"), &[("seen", &seen)]);
        assert_eq!(done.location(), "/console/cohorts/beta?done=activated", "{}", done.html);
        assert_eq!(ids(&console).lines().count(), 10_000);
        assert_eq!(admin.get(&path).status, 404, "it is gone");
        let pages = admin.get(BETA);
        assert!(pages.has("10,000 ids") && pages.has("Further ids") && pages.has("upload activated"), "{}", pages.html);

        let first = admin.upload("remove", "ids.txt", b"10\n11\n").location().to_owned();
        let second = admin.upload("add", "more.ndjson.gz", &packed(b"{\"id\": \"x\"}\n\"y\"\n")).location().to_owned();
        assert!(admin.get(&second).has("2 ids would come"), "packed and by its name");
        admin.decide(&format!("{first}/activate"), &[("seen", &admin.get(&first).hidden("seen"))]);
        let changed = admin.get(&second);
        assert!(changed.has("The cohort has changed since"), "{}", changed.html);
        let seen = changed.hidden("seen");
        let stale = admin.decide(&format!("{second}/activate"), &[("seen", &seen)]);
        assert_eq!(stale.status, 412, "{}", stale.html);
        let all_the_same = [("seen", seen.as_str()), ("even_if_changed", "yes")];
        assert_eq!(admin.decide(&format!("{second}/activate"), &all_the_same).status, 303);
        let third = admin.upload("replace", "ids.txt", b"z\n").location().to_owned();
        assert_eq!(admin.decide(&format!("{third}/drop"), &[]).location(), "/console/cohorts/beta?done=dropped");
        assert_eq!(ids(&console).lines().count(), 10_000);
    });
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[test]
fn an_upload_that_cannot_be_used_says_why_and_changes_nothing() {
    each_database(|database| {
        let console = with_beta(&database);
        let admin = console.signed_in(Role::Admin);
        let gzip = packed(&b"12345\n".repeat(10_000));
        let cases: [(&str, &str, &[u8], &str); 6] = [
            ("replace", "a.csv", b"1\n\"2\n3\n", "opens a quote that is never closed"),
            ("replace", "a.txt", b"\n \n", "holds no id"),
            ("replace", "<img src=x>.gz", &gzip[..gzip.len() / 2], "it was cut short"),
            ("replace", "", b"", "choose a file, or paste ids"),
            ("burn", "a.txt", b"1\n", "replace, add or remove"),
            ("add", "a.txt", b"\xff\xfea\0\n\0", "UTF-16"),
        ];
        for (mode, file, content, why) in cases {
            let refused = admin.upload(mode, file, content);
            assert!((400..500).contains(&refused.status), "{file}: {}", refused.status);
            assert!(refused.has(why) && refused.has("enctype=\"multipart/form-data\""), "{why}: {}", refused.html);
            assert!(!refused.has("<img src=x"), "{}", refused.html);
        }
        let csrf = admin.csrf();
        let path = format!("{BETA}/upload");
        let token: (&str, Option<&str>, &[u8]) = ("csrf", None, csrf.as_bytes());
        let (mode, why, text) = (("mode", None, &b"add"[..]), ("reason", None, &b"r"[..]), ("text", None, &b"1"[..]));
        let both = admin.post_bytes(&path, &multipart(&[token, mode, why, text, ("file", Some("a"), b"2")]));
        assert!(both.status == 422 && both.has("not both"), "{}", both.html);
        let whole = multipart(&[token, mode, why, text]);
        let broken = admin.post_bytes(&path, &whole[..whole.len() - 20]);
        assert!(broken.status == 400 && broken.has("broken off"), "{}", broken.html);
        for (what, body) in [
            ("no token", multipart(&[mode, why, text])),
            ("a token too late", multipart(&[mode, token, why, text])),
            ("another token", multipart(&[("csrf", None, b"x"), mode, why, text])),
        ] {
            assert_eq!(admin.post_bytes(&path, &body).status, 403, "{what}");
        }
        let viewer = console.signed_in(Role::Viewer);
        assert_eq!(viewer.upload("add", "a.txt", b"1\n").status, 403);
        assert_eq!(console.browser().post_bytes(&path, &whole).location(), "/console/sign-in");
        assert_eq!(console.api("GET", "/api/v1/cohorts/beta/staged", "").html, r#"{"items":[]}"#);
        assert_eq!(admin.post_bytes(&path, &whole).status, 303, "the whole form is fine");
        for shortest in [&b"1"[..], b"1\n"] {
            assert_eq!(admin.upload("add", "a.txt", shortest).status, 303, "{shortest:?}");
        }
    });
}

#[test]
fn earlier_generations_are_compared_and_brought_back() {
    each_database(|database| {
        let console = with_beta(&database);
        let admin = console.signed_in(Role::Admin);
        for (ids, mode) in [("a\nb\nc", "add"), ("b", "remove"), ("d\n<b>e</b>", "add")] {
            assert_eq!(admin.decide(&format!("{BETA}/ids"), &[("ids", ids), ("mode", mode)]).status, 303);
        }
        let name = "beta".parse().unwrap();
        let all = console.store().read(|conn| cohort_generations::list(conn, &name, &PageRequest::first())).unwrap();
        let numbers: Vec<i64> = all.items.iter().map(|one| one.generation).collect();
        let history = admin.get(&format!("{BETA}/history"));
        assert!(history.has("ids removed") && history.has("because"), "{}", history.html);
        let (now, first) = (numbers[0], numbers[2]);
        let page = admin.get(&format!("{BETA}/history/{now}?since={first}"));
        assert!(page.has("2 ids came") && page.has("1 id went") && page.has("&#60;b&#62;e"), "{}", page.html);
        assert!(admin.get(&format!("{BETA}/history/{now}")).has("0 ids went"), "the one before");
        let restore = format!("{BETA}/history/{first}/restore");
        let form = admin.get(&restore);
        assert!(form.has("1 id would come") && form.has("2 ids would go"), "{}", form.html);
        let seen = form.hidden("seen");
        let done = admin.decide(&restore, &[("seen", &seen)]);
        assert_eq!(done.location(), "/console/cohorts/beta?done=restored", "{}", done.html);
        assert_eq!(ids(&console), "a\nb\nc\n");
        assert_eq!(admin.decide(&restore, &[("seen", &seen)]).status, 412);
        assert_eq!(admin.get(&format!("{BETA}/history/999999")).status, 404);
        assert_eq!(admin.get(&format!("{BETA}/download?generation={now}")).html.lines().count(), 4);
    });
}

/// A flag that routes the example's change, or none, by the cohort `beta`.
fn flag(change: &str, protection: &str) -> String {
    format!(
        r#"{{"key": "billing-allocation", "type": "string", "variants": {{"old": "old", "new": "new"}}, "default_variant": "old", "off_variant": "old",
            "rules": [{{"cohort": "beta", "serve": {{"variant": "new"}}}}]{change}{protection}}}"#
    )
}

#[test]
fn who_uses_it_and_which_groups_it_reaches_is_told() {
    each_database(|database| {
        drop(crate::translation::loaded(&database));
        let console = with_beta(&database);
        let install = serde_json::json!({ "file": FILE }).to_string();
        assert_eq!(console.api("POST", "/api/v1/changes", &install).status, 201);
        let body = flag(r#", "change": "billing-allocation""#, "");
        let put = console.api("POST", "/api/v1/flags", &body);
        assert!(put.status < 300, "{}", put.html);
        let admin = console.signed_in(Role::Admin);
        admin.decide(&format!("{BETA}/ids"), &[("ids", "1\n2\nnobody"), ("mode", "add")]);
        let page = admin.get(BETA);
        assert!(page.has("Rule 1 serves “new” to who is in it."), "{}", page.html);
        assert!(page.has("widened to") && page.has("without a group"), "{}", page.html);
        assert!(page.has("href=\"/console/flags/billing-allocation\""), "{}", page.html);
        assert!(!admin.get("/console/cohorts").has("unused"));
        let form = admin.get(&format!("{BETA}/remove"));
        assert!(form.has("cannot be removed while flags name it") && !form.has("name=\"seen\""), "{}", form.html);
        let seen = console.api("GET", "/api/v1/cohorts/beta", "").html;
        let seen = serde_json::from_str::<serde_json::Value>(&seen).unwrap()["generation"].to_string();
        assert_eq!(admin.decide(&format!("{BETA}/remove"), &[("seen", &seen)]).status, 409);
    });
}

#[test]
fn a_cohort_of_a_protected_flag_takes_two_persons() {
    each_database(|database| {
        let console = with_beta(&database);
        let body = flag("", r#", "protection": {"two_person": true}"#);
        let put = console.api("POST", "/api/v1/flags", &body);
        assert!(put.status < 300, "{}", put.html);
        let admin = console.signed_in(Role::Admin);
        let page = admin.get(BETA);
        assert!(page.has("Two persons:") && !page.has("name=\"ids\""), "{}", page.html);
        let refused = admin.decide(&format!("{BETA}/ids"), &[("ids", "1"), ("mode", "add")]);
        assert!(refused.status == 409 && refused.has("takes two persons"), "{}", refused.html);
        let path = admin.upload("add", "a.txt", b"1\n2\n").location().to_owned();
        let page = admin.get(&path);
        assert!(page.has("you uploaded it") && !page.has("Activate:"), "{}", page.html);
        let seen = page.hidden("seen");
        let own = admin.decide(&format!("{path}/activate"), &[("seen", &seen)]);
        assert!(own.status == 409 && own.has("another person"), "{}", own.html);
        assert_eq!(ids(&console), "");
        let origin = Origin { actor: "test", reason: "" };
        let other =
            console.store().write(|conn| tokens::create(conn, "grace", Role::Admin, None, origin)).unwrap().text;
        console.refresh();
        let grace = console.browser();
        assert_eq!(grace.sign_in(&other, "").status, 303);
        assert!(grace.get(&path).has("Activate: 2 ids come"));
        assert_eq!(grace.decide(&format!("{path}/activate"), &[("seen", &seen)]).status, 303);
        assert_eq!(ids(&console), "1\n2\n");
    });
}

#[test]
fn a_viewer_reads_everything_and_is_offered_nothing() {
    each_database(|database| {
        let console = with_beta(&database);
        let (admin, viewer) = (console.signed_in(Role::Admin), console.signed_in(Role::Viewer));
        admin.decide(&format!("{BETA}/ids"), &[("ids", "1"), ("mode", "add")]);
        let generation = admin.get(BETA).html.split_once("/history/").unwrap().1.split_once('"').unwrap().0.to_owned();
        for path in [BETA.to_owned(), format!("{BETA}/history"), format!("{BETA}/history/{generation}")] {
            let page = viewer.get(&path);
            assert_eq!((page.status, page.html.matches("method=\"post\"").count()), (200, 1), "{path}: {}", page.html);
            assert!(!page.has("/restore\"") && !page.has("/edit\"") && !page.has("/upload\""), "{path}: {}", page.html);
        }
        for path in ["ids", "edit", "remove", "upload", "staged/x/drop", &format!("history/{generation}/restore")] {
            let path = format!("{BETA}/{path}");
            let form = viewer.get(&path).status;
            assert!([303, 403, 404].contains(&form), "{path}: {form}");
            let sent = viewer.decide(&path, &[("ids", "2"), ("mode", "add"), ("seen", "1")]).status;
            assert!([403, 400].contains(&sent), "{path}: {sent}");
        }
        assert_eq!(ids(&console), "1\n");
    });
}

#[test]
fn hostile_ids_and_descriptions_stay_texts() {
    each_database(|database| {
        let console = with_beta(&database);
        let admin = console.signed_in(Role::Admin);
        let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
        let path = format!("{BETA}/ids");
        assert_eq!(admin.decide(&path, &[("ids", hostile), ("mode", "add"), ("reason", hostile)]).status, 303);
        let seen = admin.get(&format!("{BETA}/edit")).hidden("seen");
        let conditions =
            serde_json::json!([[{"attribute": "plan", "operator": "equals", "value": hostile}]]).to_string();
        let fields = [("seen", seen.as_str()), ("description", hostile), ("conditions", &conditions)];
        assert_eq!(admin.decide(&format!("{BETA}/edit"), &fields).status, 303);
        let staged = admin
            .upload("replace", &format!("{hostile}.txt"), format!("{hostile}2\n").as_bytes())
            .location()
            .to_owned();
        let mut pages = vec![
            admin.get("/console/cohorts"),
            admin.get(BETA),
            admin.get(&format!("{BETA}?id={}", encoded(hostile))),
            admin.get(&format!("{BETA}/edit")),
            admin.get(&staged),
        ];
        pages.push(admin.decide(&path, &[("ids", &format!("{hostile}\na\tb")), ("mode", "add"), ("seen", "")]));
        for page in pages {
            assert!(page.has("&#60;script&#62;alert(1)"), "it is shown, as text: {}", page.html);
            assert!(!page.has("<script>alert") && !page.has("<img src=x"), "{}", page.html);
        }
        let file = admin.get(&format!("{BETA}/download?format=lines"));
        assert_eq!(file.headers["x-content-type-options"], "nosniff");
        assert!(file.headers["content-disposition"].starts_with("attachment"));
    });
}
