//! Pages that renew themselves, and their charts.

use std::sync::Arc;
use std::time::Duration;

use actix_web::test::TestRequest;
use actix_web::{App, test as actix, web};
use arc_swap::ArcSwap;
use changeover::http::configure;
use changeover::http::events::StreamSettings;
use changeover::jobs::series as charting;
use changeover::primitives::Instant;
use changeover::routing::Overview;
use changeover::store::series::{self, Measure, Reading, Step, Writing};
use changeover::store::tokens::Role;
use changeover::store::{Origin, worker_gates};
use changeover::worker_gates::Settings;
use changeover::{console, translation};

use super::changes::CHANGE;
use super::reports::filled;
use super::{Console, Page};
use crate::support::{TestDatabase, each_database};

fn written(database: &TestDatabase) -> changeover::store::Store {
    changeover::store::Store::open(database.database()).unwrap()
}

fn reading(subject: &str, measure: Measure, value: i64) -> Reading {
    Reading { subject: subject.to_owned(), measure, value }
}

#[test]
fn levels_are_replaced_counts_are_added_and_old_values_are_forgotten() {
    each_database(|database| {
        let store = written(&database);
        let now: Instant = "2026-11-23T12:07:30Z".parse::<jiff::Timestamp>().unwrap().into();
        let write = |value, writing, at| {
            let readings = [reading("flag/b", Measure::Evaluations, value), reading("flag/a", Measure::Drift, value)];
            store.write(|conn| series::write(conn, &readings, writing, at)).unwrap();
        };
        let list = |subject: &str, measure, step| {
            let found = store.read(|conn| series::list(conn, subject, measure, step)).unwrap();
            found.into_iter().map(|(at, value)| (at.to_string(), value)).collect::<Vec<_>>()
        };
        write(5, Writing::Level, now);
        write(7, Writing::Count, now);
        write(0, Writing::Count, now);
        write(i64::from(i32::MAX) * 4, Writing::Level, Instant::from_micros(now.as_micros() + 3_600_000_000));
        let fine = list("flag/b", Measure::Evaluations, Step::Fine);
        assert_eq!(fine[0], (String::from("2026-11-23T12:05:00Z"), 12));
        assert_eq!(fine[1], (String::from("2026-11-23T13:05:00Z"), 8_589_934_588));
        assert_eq!(list("flag/b", Measure::Evaluations, Step::Coarse)[0].0, "2026-11-23T12:00:00Z");
        assert_eq!(list("flag/a", Measure::Drift, Step::Fine).len(), 2);
        assert!(list("flag/c", Measure::Drift, Step::Fine).is_empty());
        let later = Instant::from_micros(now.as_micros() + 49 * 1_800_000_000);
        store.write(|conn| series::prune(conn, later)).unwrap();
        assert_eq!(list("flag/b", Measure::Evaluations, Step::Fine).len(), 1, "a day of five minutes");
        assert_eq!(list("flag/b", Measure::Evaluations, Step::Coarse).len(), 2, "a month of hours");
        store.write(|conn| series::write(conn, &[], Writing::Level, now)).unwrap();
    });
}

#[test]
fn a_change_has_charts_of_a_day_and_of_thirty() {
    each_database(|database| {
        let console = filled(&database);
        let viewer = console.signed_in(Role::Viewer);
        let empty = viewer.get(CHANGE);
        assert_eq!(empty.html.matches("Nothing is known of this time").count(), 4, "{}", empty.html);
        // What the server reads for its metrics is what charts are drawn from.
        let health = translation::health(&mut database.connection(), &translation::Health::default()).unwrap();
        let readings = charting::readings(&Overview { health, ..Overview::default() });
        assert!(
            readings.iter().any(|one| one.subject == "change/billing-allocation" && one.measure == Measure::Pending)
        );
        let now: Instant = jiff::Timestamp::now().into();
        let drift = [
            reading("change/billing-allocation", Measure::Drift, 1_234),
            reading("change/billing-allocation", Measure::OnNew, 40),
            reading("flag/billing-allocation", Measure::Evaluations, 99),
        ];
        console
            .store()
            .write(|conn| {
                series::write(conn, &readings, Writing::Level, now)?;
                series::write(conn, &drift, Writing::Level, now)
            })
            .unwrap();
        for range in ["", "?range=month"] {
            let page = viewer.get(&format!("{CHANGE}{range}"));
            assert_eq!(page.html.matches("<svg role=\"img\" aria-label=").count(), 3, "{}", page.html);
            assert!(page.has("Rows that differ: 1,234") && page.has("New: 40") && page.has("Evaluations: 99"));
            assert!(!page.has("style="), "nothing inline");
        }
    });
}

/// Reads a stream's first pieces as a signed-in browser does.
fn stream(console: &Console, about: &str, then: impl FnOnce()) -> (u16, Vec<String>) {
    let admin = console.signed_in(Role::Viewer);
    let cookie = format!("changeover_session={}", admin.cookie("changeover_session").unwrap());
    actix_web::rt::System::new().block_on(async {
        let app = App::new().app_data(web::Data::new(console.state.clone())).configure(configure);
        let app = actix::init_service(app.configure(console::configure)).await;
        let request = TestRequest::get().uri(&format!("/console/events?about={about}"));
        let request = request.peer_addr("127.0.0.1:9".parse().unwrap()).insert_header(("Cookie", cookie));
        let answer = actix::call_service(&app, request.to_request()).await;
        let status = answer.status().as_u16();
        if status != 200 {
            return (status, Vec::new());
        }
        assert_eq!(answer.headers().get("content-type").unwrap(), "text/event-stream");
        let mut body = Box::pin(answer.into_body());
        let mut pieces = Vec::new();
        let mut then = Some(then);
        while pieces.len() < 2 {
            let next = std::future::poll_fn(|context| actix_web::body::MessageBody::poll_next(body.as_mut(), context));
            match tokio::time::timeout(Duration::from_secs(60), next).await.unwrap() {
                Some(piece) => pieces.push(String::from_utf8(piece.unwrap().to_vec()).unwrap()),
                None => break,
            }
            if let Some(then) = then.take() {
                then();
            }
        }
        (status, pieces)
    })
}

#[test]
fn an_open_page_is_told_that_it_has_changed() {
    each_database(|database| {
        let console = filled(&database);
        let overview = Arc::new(ArcSwap::from_pointee(Overview::default()));
        let console = Console { state: console.state.clone().watching(Arc::clone(&overview)), ..console };
        let health = translation::health(&mut database.connection(), &translation::Health::default()).unwrap();
        let changed = || overview.store(Arc::new(Overview { health, ..Overview::default() }));
        let (_, pieces) = stream(&console, "change/billing-allocation", changed);
        assert_eq!(pieces, ["event: changed\ndata:\n\n", "event: changed\ndata:\n\n"]);
    });
}

#[test]
fn a_page_of_gates_is_told_as_well() {
    each_database(|database| {
        let console = filled(&database);
        let store = console.store().clone();
        let (worker, origin) = ("mailer".parse().unwrap(), Origin { actor: "ann", reason: "new" });
        let (_, pieces) = stream(&console, "gates", || {
            store.write(|conn| worker_gates::set(conn, &worker, Settings::default(), None, origin)).unwrap();
        });
        assert_eq!(pieces, ["event: changed\ndata:\n\n", "event: changed\ndata:\n\n"]);
    });
}

#[test]
fn a_stream_is_for_who_is_signed_in_and_ends_with_the_session() {
    each_database(|database| {
        let console = filled(&database);
        let refused = |page: Page| (page.status, page.html.contains("<h1>"));
        let viewer = console.signed_in(Role::Viewer);
        for about in ["", "job/../x", "change/", "flag/x", "change/a%20b", "job/%00"] {
            assert_eq!(refused(viewer.get(&format!("/console/events?about={about}"))), (422, true), "{about}");
        }
        assert!(console.browser().get("/console/events?about=job/1").location().contains("/sign-in"));
        let store = console.store().clone();
        let (status, pieces) = stream(&console, "change/billing-allocation", move || {
            store
                .write(|conn| {
                    conn.execute("DELETE FROM svc_changeover_sessions", &[])?;
                    let job = changeover::store::jobs::NewJob {
                        kind: changeover::store::jobs::JobKind::Verify,
                        change: &"billing-allocation".parse().unwrap(),
                        arguments: serde_json::json!({}),
                        actor: "test",
                    };
                    changeover::store::jobs::create(conn, &job)
                })
                .unwrap();
        });
        assert_eq!((status, pieces.len()), (200, 1), "it ends instead of telling more");

        let none = StreamSettings { streams_max: 0, ..StreamSettings::default() };
        let console = Console { state: console.state.clone().streaming(none), ..console };
        assert_eq!(stream(&console, "change/billing-allocation", || ()).0, 503);
    });
}
