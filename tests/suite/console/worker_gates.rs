//! The page of worker gates: what it shows, and pausing and resuming one worker or all.

use changeover::store::tokens::Role;
use changeover::store::{Origin, worker_gates, worker_leases};
use changeover::worker_gates::Settings;

use super::Console;
use crate::support::each_database;

const ORIGIN: Origin<'_> = Origin { actor: "ann", reason: "a <test>" };

fn set(console: &Console, worker: &str, order: i64, single_instance: bool) {
    let settings = Settings { order, delay_s: 60, single_instance, ..Settings::default() };
    let worker = worker.parse().unwrap();
    console.store().write(|conn| worker_gates::set(conn, &worker, settings.clone(), None, ORIGIN)).unwrap();
}

#[test]
fn workers_are_paused_together_and_come_back_in_order() {
    each_database(|database| {
        let console = Console::new(&database);
        let admin = console.signed_in(Role::Admin);
        assert!(admin.get("/console/gates").has("No worker has a gate yet"));
        set(&console, "mailer", 20, true);
        set(&console, "billing", 10, false);
        set(&console, "pause", 30, false);
        let (worker, holder) = ("mailer".parse().unwrap(), "host <b>");
        console.store().write(|conn| worker_leases::acquire(conn, &worker, holder)).unwrap().found.unwrap();
        let page = admin.get("/console/gates");
        assert!(page.has("3 workers that run or wait") && page.has("1 lease is held"), "{}", page.html);
        assert!(page.has("host &#60;b&#62;") && page.has("a &#60;test&#62;") && !page.has("<b>"), "{}", page.html);
        let places: Vec<_> =
            ["gates/billing\"", "gates/mailer\"", "gates/pause\""].map(|link| page.html.find(link).unwrap()).into();
        assert!(places.is_sorted(), "in the order of their numbers");

        let csrf = admin.csrf();
        let post =
            |path: &str, fields: &[(&str, &str)]| admin.post(path, &[&[("csrf", csrf.as_str())], fields].concat());
        assert_eq!(post("/console/all-gates/pause", &[("reason", " ")]).status, 422, "a reason is asked for");
        assert_eq!(post("/console/gates/pause/pause", &[("reason", "alone")]).status, 303);
        let paused = post("/console/all-gates/pause", &[("reason", "moving")]);
        assert_eq!(paused.status, 303, "{}", paused.html);
        let page = admin.get(paused.location());
        assert!(page.has("The workers are paused") && !page.has("Pause all workers"), "{}", page.html);
        assert!(page.has("<strong>billing</strong> in 60 seconds"), "{}", page.html);
        assert!(page.has("<strong>mailer</strong> in 2 min 0 s"), "{}", page.html);
        assert!(page.has("1 worker that was paused alone") && page.has("alone"), "{}", page.html);

        let resumed = post("/console/all-gates/resume", &[("reason", "live")]);
        assert!(admin.get(resumed.location()).has("come back in order"), "{}", resumed.html);
        let one = admin.get("/console/gates/billing");
        assert!(one.has("waiting") && one.has("Resume this worker") && one.has("live"), "{}", one.html);
        assert!(admin.get("/console/gates/pause").has(">paused<"), "it was paused for itself");
        assert_eq!(post("/console/gates/billing/resume", &[("reason", "now"), ("after", "soon")]).status, 422);
        assert_eq!(post("/console/gates/billing/resume", &[("reason", "now"), ("after", "")]).status, 303);
        assert!(admin.get("/console/gates/billing").has(">running<"));
        assert_eq!(admin.get("/console/gates/nobody").status, 404);
    });
}

#[test]
fn who_may_only_look_is_offered_nothing_else() {
    each_database(|database| {
        let console = Console::new(&database);
        set(&console, "mailer", 20, true);
        let viewer = console.signed_in(Role::Viewer);
        for path in ["/console/gates", "/console/gates/mailer"] {
            let page = viewer.get(path);
            assert_eq!((page.status, page.html.matches("<form").count()), (200, 1), "signing out: {}", page.html);
        }
        let fields = [("csrf", &*viewer.csrf()), ("reason", "x")];
        for path in [
            "/console/all-gates/pause",
            "/console/all-gates/resume",
            "/console/gates/mailer/pause",
            "/console/gates/mailer/resume",
        ] {
            assert_eq!(viewer.post(path, &fields).status, 403, "{path}");
            assert_eq!(console.browser().get(path).status, 303, "to the sign-in: {path}");
        }
    });
}
