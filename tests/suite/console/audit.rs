//! The audit log's page: search, pages, and whether the log is whole.

use changeover::store::Origin;
use changeover::store::tokens::{self, Role};

use super::{Console, encoded};
use crate::support::each_database;

#[test]
fn the_log_is_searched_and_read_page_by_page() {
    each_database(|database| {
        let console = Console::new(&database);
        for number in 0..120 {
            let reason = format!("ticket {number}: 100% of <b>Ünits_</b>");
            let origin = Origin { actor: "Kim", reason: &reason };
            console.store().write(|conn| tokens::create(conn, "job", Role::Evaluate, None, origin)).unwrap();
        }
        let viewer = console.signed_in(Role::Viewer);
        let first = viewer.get("/console/audit");
        assert!(first.has("session.start") && first.has("token.create"), "{}", first.html);
        assert!(first.has("&#60;b&#62;Ünits_") && !first.has("<b>Ü"), "{}", first.html);
        let mut page = first;
        let mut seen = page.html.matches("<time").count();
        while let Some(link) = page.html.split('"').find(|text| text.contains("after=")) {
            page = viewer.get(&link.replace("&#38;", "&"));
            seen += page.html.matches("<time").count();
            assert!(page.has("To the newest"));
        }
        assert!(seen > 120, "every row once: {seen}");

        let found = |query: &str| viewer.get(&format!("/console/audit?{query}"));
        let rows = |query: &str| found(query).html.matches("<time").count();
        assert_eq!(rows("text=TICKET%2077"), 1, "in large or small letters");
        assert_eq!(rows(&format!("text={}", encoded("100% of <b>Ü"))), 50, "a sign of patterns is a letter");
        assert_eq!(rows("text=1000%25"), 0);
        assert_eq!(rows("text=kim%0Atoken"), 0, "a line end is no letter");
        assert_eq!(rows("actor=Kim&action=token.&text=ticket+119:"), 1);
        assert_eq!(rows("subject=session/"), 0);
        assert!(rows("action=session.start&since=2020-01-01") >= 1);
        assert_eq!(rows("until=2020-01-01"), 0);
        assert!(found("until=2020-01-01").has("Nothing is so."));
        let wrong = found("since=%3Cimg%20src=x%3E");
        assert!(wrong.has("is not a day") && !wrong.has("<img src=x"), "{}", wrong.html);
        assert_eq!(found("text=%00&actor=%00").status, 200);
        let next = found("actor=Kim&text=ticket");
        assert!(next.has("actor=Kim&#38;after=") || next.has("text=ticket&#38;actor=Kim&#38;after="), "{}", next.html);

        assert!(viewer.get("/console/audit/verification").has("none is missing"));
        database.connection().batch("UPDATE svc_changeover_audit SET reason = 'another' WHERE id = 7").unwrap();
        let broken = viewer.get("/console/audit/verification");
        assert!(broken.has("Row 7 is missing, or is not as it was written"), "{}", broken.html);
        assert!(console.browser().get("/console/audit").location().contains("/sign-in"));
    });
}
