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
fn a_gate_is_made_set_anew_and_removed() {
    each_database(|database| {
        let console = Console::new(&database);
        let admin = console.signed_in(Role::Admin);
        let form = admin.get("/console/new-gate");
        assert!(form.has("Make a gate for a worker") && form.has("value=\"30\""), "{}", form.html);
        let csrf = admin.csrf();
        let post =
            |path: &str, fields: &[(&str, &str)]| admin.post(path, &[&[("csrf", csrf.as_str())], fields].concat());
        let wish = [("worker", "mailer"), ("order", "20"), ("delay", "60"), ("lease", "45"), ("single", "yes")];
        let refused = post("/console/new-gate", &[&wish[..], &[("reason", " ")]].concat());
        assert!(refused.status == 422 && refused.has("value=\"45\""), "a reason is asked for: {}", refused.html);
        for (field, value, says) in
            [("worker", "-x", "name"), ("delay", "soon", "whole number"), ("lease", "1", "lease_seconds")]
        {
            let wrong: Vec<_> = wish.iter().map(|one| if one.0 == field { (field, value) } else { *one }).collect();
            let refused = post("/console/new-gate", &[&wrong[..], &[("reason", "new")]].concat());
            assert!(refused.status == 422 && refused.has(says), "{field}: {}", refused.html);
        }
        let made = post("/console/new-gate", &[&wish[..], &[("reason", "new"), ("description", "<mail>")]].concat());
        assert_eq!((made.status, made.location()), (303, "/console/gates/mailer?done=made"), "{}", made.html);
        let page = admin.get(made.location());
        assert!(page.has("&#60;mail&#62;") && page.has("its lease of 45 s") && page.has("number 20"), "{}", page.html);
        let again = post("/console/new-gate", &[&wish[..], &[("reason", "twice")]].concat());
        assert!(again.status == 409 && again.has("exists already"), "{}", again.html);

        let form = admin.get("/console/gates/mailer/edit");
        let seen = form.hidden("seen");
        assert!(form.has("value=\"45\"") && form.has(" checked"), "{}", form.html);
        let anew = [("seen", seen.as_str()), ("order", "5"), ("delay", "0"), ("lease", "30"), ("reason", "sooner")];
        let set = post("/console/gates/mailer/edit", &anew);
        assert_eq!(set.location(), "/console/gates/mailer?done=set", "{}", set.html);
        assert!(admin.get(set.location()).has("Any number of instances may run"));
        assert_eq!(post("/console/gates/mailer/edit", &anew).status, 412, "somebody was faster");
        assert_eq!(post("/console/gates/mailer/remove", &[("seen", &seen), ("reason", "gone")]).status, 412);

        let form = admin.get("/console/gates/mailer/remove");
        assert!(form.has("Fencing tokens are not forgotten") && form.has("Nobody holds a lease"), "{}", form.html);
        let seen = form.hidden("seen");
        assert_eq!(post("/console/gates/mailer/remove", &[("seen", &seen), ("reason", "")]).status, 422);
        let removed = post("/console/gates/mailer/remove", &[("seen", &seen), ("reason", "gone")]);
        assert!(admin.get(removed.location()).has("The gate is removed"), "{}", removed.html);
        assert_eq!(admin.get("/console/gates/mailer/edit").status, 404);
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
