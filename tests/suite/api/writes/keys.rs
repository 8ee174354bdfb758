//! Idempotency keys: exactly one write, whatever dies and whoever asks again; and retries of what the database refuses for a moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use changeover::change::Stage;
use changeover::database::Dialect;
use serde_json::json;

use super::{PATH, Shop, post};
use crate::support::{Server, each_database};

fn one_user(name: &str) -> String {
    json!({ "operations": [{ "insert": "users", "row": { "name": name, "company": name } }] }).to_string()
}

#[test]
fn the_same_key_and_body_give_the_same_answer() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::DualWrite);
        let first = shop.send(Some("a-1"), &one_user("Gus"));
        assert_eq!((first.status, first.header("idempotency-replayed")), (200, None), "{first:?}");
        // Written in another way, it says the same; the quotes are those of a structured header.
        let again = r#"{ "operations" : [ { "row":{"company":"Gus","name":"\u0047us"},"insert":"users" } ] }"#;
        let second = shop.send(Some("\"a-1\""), again);
        assert_eq!(
            (second.status, second.header("idempotency-replayed"), &second.body),
            (200, Some("true"), &first.body)
        );
        assert_eq!(shop.number("SELECT count(*) AS n FROM users WHERE name = 'Gus'"), 1);
        let other = shop.send(Some("a-1"), &one_user("Hal"));
        assert_eq!(other.status, 422);
        assert!(other.body.contains("idempotency_key_reused"), "{other:?}");
        // A refused write is not kept: its key may be used once it can be done.
        let body = json!({ "operations": [{ "insert": "users", "row": { "id": 1, "name": "x" } }] }).to_string();
        assert_eq!(shop.send(Some("b"), &body).status, 409);
        assert_eq!(shop.send(Some("b"), &one_user("Ida")).status, 200);
        assert_eq!(shop.send(None, &one_user("Gus")).status, 200, "without a key it is another write");
    });
}

#[test]
fn twenty_clients_with_one_key_write_once() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::DualWrite);
        let second = Server::start(&shop.installed.database);
        let token = shop.server.admin_token();
        let barrier = Barrier::new(20);
        let body = one_user("Gus");
        let outcomes = thread::scope(|scope| {
            let clients: Vec<_> = (0..20)
                .map(|number| {
                    let (url, barrier, body, token) =
                        (if number % 2 == 0 { shop.server.at(PATH) } else { second.at(PATH) }, &barrier, &body, &token);
                    scope.spawn(move || {
                        barrier.wait();
                        let deadline = Instant::now() + Duration::from_secs(60);
                        let mut statuses = Vec::new();
                        loop {
                            let agent: ureq::Agent =
                                ureq::Agent::config_builder().http_status_as_error(false).build().into();
                            let request = agent
                                .post(&url)
                                .header("authorization", format!("Bearer {token}"))
                                .header("content-type", "application/json")
                                .header("idempotency-key", "only-once");
                            let mut answer = request.send(body.as_str()).expect("an answer");
                            statuses.push(answer.status().as_u16());
                            if answer.status() == 200 {
                                let replayed = answer.headers().get("idempotency-replayed").is_some();
                                return (replayed, answer.body_mut().read_to_string().unwrap(), statuses);
                            }
                            assert!([409, 503].contains(&answer.status().as_u16()), "{answer:?}");
                            assert!(answer.headers().get("retry-after").is_some(), "{answer:?}");
                            assert!(Instant::now() < deadline, "{statuses:?}");
                            thread::yield_now();
                        }
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(outcomes.iter().filter(|(replayed, ..)| !replayed).count(), 1, "{outcomes:?}");
        let answers: std::collections::BTreeSet<&String> = outcomes.iter().map(|(_, body, _)| body).collect();
        assert_eq!(answers.len(), 1, "one answer for all");
        assert_eq!(shop.number("SELECT count(*) AS n FROM users WHERE name = 'Gus'"), 1);
        shop.assert_agrees(&json!("twenty clients"));
    });
}

#[test]
fn a_server_that_dies_after_the_commit_answers_when_it_is_back() {
    each_database(|database| {
        let mut shop = Shop::at(database, Stage::DualWrite);
        let token = shop.server.admin_token();
        for round in 0..5 {
            let (name, key) = (format!("crash-{round}"), format!("key-{round}"));
            let (body, url) = (one_user(&name), shop.server.at(PATH));
            let (sent_body, sent_key, sent_token) = (body.clone(), key.clone(), token.clone());
            let client = thread::spawn(move || {
                let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
                let request = agent
                    .post(&url)
                    .header("authorization", format!("Bearer {sent_token}"))
                    .header("content-type", "application/json")
                    .header("idempotency-key", &sent_key);
                drop(request.send(sent_body.as_str()));
            });
            // The commit is seen from outside, and the server is killed at once.
            let mut connection = shop.installed.connection();
            let deadline = Instant::now() + Duration::from_secs(30);
            let committed = format!("SELECT count(*) AS n FROM users WHERE name = '{name}'");
            while connection.get_row(&committed, &[]).unwrap().integer("n").unwrap() == 0 {
                assert!(Instant::now() < deadline, "{}", shop.server.output());
            }
            kill(&shop.server);
            client.join().unwrap();
            shop.server = Server::start(&shop.installed.database);
            let answer = send_as(&shop.server, &token, &key, &body);
            assert_eq!((answer.0, answer.1), (200, true), "the stored answer: {}", answer.2);
            assert_eq!(shop.number(&committed), 1);
        }
        shop.assert_agrees(&json!("killed five times"));
    });
}

fn kill(server: &Server) {
    let status = std::process::Command::new("kill").args(["-KILL", &server.process_id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn send_as(server: &Server, token: &str, key: &str, body: &str) -> (u16, bool, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent
        .post(server.at(PATH))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    let mut answer = request.send(body).expect("an answer");
    let replayed = answer.headers().get("idempotency-replayed").is_some();
    (answer.status().as_u16(), replayed, answer.body_mut().read_to_string().unwrap())
}

/// Two requests lock two rows in opposite order, and each waits inside its transaction for an advisory lock that the test holds until
/// both have their first row: a deadlock for certain, whose victim is tried again.
#[test]
fn a_deadlock_is_tried_again_inside() {
    each_database(|database| {
        if database.dialect() == Dialect::Sqlite {
            return; // One writer at a time: there is nothing to deadlock with.
        }
        let shop = Shop::at(database, Stage::DualWrite);
        let mut holder = shop.installed.connection();
        holder
            .batch(
                "CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   IF NEW.company LIKE 'meet%' THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF; RETURN NEW; END $$;
                 CREATE TRIGGER meet AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION meet();
                 SELECT pg_advisory_lock(4711)",
            )
            .unwrap();
        let body = |first: i64, second: i64| {
            json!({ "operations": [
                { "update": "users", "where": { "id": first }, "set": { "company": format!("meet {first}") } },
                { "update": "users", "where": { "id": second }, "set": { "company": format!("{first} was first") } } ] })
            .to_string()
        };
        let shop = Arc::new(shop);
        let statuses = thread::scope(|scope| {
            let clients = [(4, 6), (6, 4)].map(|(first, second)| {
                let shop = Arc::clone(&shop);
                scope.spawn(move || shop.send(None, &body(first, second)))
            });
            let deadline = Instant::now() + Duration::from_secs(30);
            let waiting =
                "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted";
            while shop.number(waiting) < 2 {
                assert!(Instant::now() < deadline, "{}", shop.server.output());
            }
            holder.batch("SELECT pg_advisory_unlock(4711)").unwrap();
            clients.map(|client| client.join().unwrap())
        });
        assert!(statuses.iter().all(|answer| answer.status == 200), "{statuses:?}");
        let metrics = shop.server.send("GET", "/metrics", &[], None).body;
        let retries = metrics.lines().find(|line| line.starts_with("changeover_write_retries_total")).unwrap();
        assert!(!retries.ends_with(" 0"), "{retries}");
        shop.assert_agrees(&json!("a deadlock"));
    });
}

/// Eight clients over a few rows, in any order: whoever is refused is refused for a reason, and both models agree.
#[test]
fn clients_that_meet_leave_both_models_in_agreement() {
    each_database(|database| {
        let shop = Shop::at(database, Stage::Live);
        let (rounds, server) = (crate::support::full_length(100, 6), &shop.server);
        let statuses = thread::scope(|scope| {
            let clients: Vec<_> = (0..8u64)
                .map(|client| {
                    scope.spawn(move || {
                        let mut random = crate::support::Random::new(client);
                        let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
                        for _ in 0..rounds {
                            let mut id = |limit| 1 + random.below(limit);
                            let body = json!({ "operations": [
                                { "update": "videos", "where": { "id": id(6) }, "set": { "user_id": id(6) } },
                                { "insert": "charges", "row": { "user_id": id(6), "video_id": id(6), "period": "2026-11", "currency": "EUR", "amount_minor": id(1000) } },
                                { "update": "users", "where": { "id": id(6) }, "set": { "company": id(100).to_string() } },
                            ] });
                            let answer = post(server, PATH, None, &body.to_string());
                            assert!([200, 503].contains(&answer.status), "{answer:?}\n{}", server.output());
                            *statuses.entry(answer.status).or_default() += 1;
                        }
                        statuses
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        let written: usize = statuses.iter().filter_map(|statuses| statuses.get(&200)).sum();
        assert!(written as u64 > 8 * rounds * 9 / 10, "{statuses:?}");
        assert_eq!(shop.number("SELECT count(*) AS n FROM charges"), 6 + i64::try_from(written).unwrap());
        shop.assert_agrees(&json!("eight clients"));
    });
}
