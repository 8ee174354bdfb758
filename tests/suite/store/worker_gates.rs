//! Gates of background workers in the store: switching, order, reasons and audit rows, leases and their fencing tokens.

use std::collections::BTreeSet;
use std::sync::Barrier;

use changeover::database::DatabaseConnection;
use changeover::primitives::{Instant, WorkerName};
use changeover::store::audit::{self, Filter, Verdict};
use changeover::store::worker_gates::{self as gates, Found, StoredGate};
use changeover::store::{Origin, PageRequest, Store, StoreError, worker_leases};
use changeover::worker_gates::{Claim, Lease, Refusal, Renewal, Settings, State, Switch};

use super::{ORIGIN, open};
use crate::support::each_database;

fn name(text: &str) -> WorkerName {
    text.parse().unwrap()
}

fn single(lease_s: i64) -> Settings {
    Settings { single_instance: true, lease_s, ..Settings::default() }
}

fn make(store: &Store, worker: &str, settings: Settings) -> StoredGate {
    store.write(|conn| gates::set(conn, &name(worker), settings.clone(), None, ORIGIN)).unwrap().0.found
}

fn acquire(store: &Store, worker: &str, holder: &str) -> Result<Lease, Refusal> {
    store.write(|conn| worker_leases::acquire(conn, &name(worker), holder)).unwrap().found
}

fn renew(store: &Store, worker: &str, lease: &Lease) -> Renewal {
    let claim = Claim { holder: &lease.holder, fencing: lease.fencing };
    store.write(|conn| worker_leases::renew(conn, &name(worker), &claim)).unwrap().found
}

fn release(store: &Store, worker: &str, lease: &Lease) -> bool {
    let claim = Claim { holder: &lease.holder, fencing: lease.fencing };
    store.write(|conn| worker_leases::release(conn, &name(worker), &claim)).unwrap()
}

/// Lets the lease run out without waiting for it.
fn expire(connection: &mut DatabaseConnection, worker: &str) {
    let sql = "UPDATE svc_changeover_worker_leases SET expires_at = 1 WHERE worker = $1";
    assert_eq!(connection.execute(sql, &[worker.into()]).unwrap(), 1);
}

#[test]
fn workers_come_back_in_order_and_by_the_clock_alone() {
    each_database(|database| {
        let store = open(&database);
        for (worker, order, delay_s) in
            [("web", 0, 0), ("bills", 10, 60), ("ledger", 10, 30), ("mail", 20, 5), ("odd", 5, 0)]
        {
            make(&store, worker, Settings { order, delay_s, ..Settings::default() });
        }
        store.write(|conn| gates::pause(conn, &name("odd"), ORIGIN)).unwrap();
        let paused = store.write(|conn| gates::pause_all(conn, ORIGIN)).unwrap();
        assert_eq!(paused.iter().map(WorkerName::as_str).collect::<Vec<_>>(), ["web", "bills", "ledger", "mail"]);
        assert_eq!(store.write(|conn| gates::pause_all(conn, ORIGIN)).unwrap(), [], "once is enough");

        let times = store.write(|conn| gates::resume_all(conn, false, ORIGIN)).unwrap();
        let start = times[0].1;
        let after = |at: Instant| (at.as_micros() - start.as_micros()) / 1_000_000;
        let found: Vec<(&str, i64)> = times.iter().map(|(worker, at)| (worker.as_str(), after(*at))).collect();
        assert_eq!(found, [("web", 0), ("ledger", 30), ("bills", 60), ("mail", 65)]);

        // What a server says that was started afterwards, at any moment from then on.
        let second = Store::open(database.database()).unwrap();
        let stored = second.read(gates::list).unwrap().found;
        let states = |seconds: i64| -> Vec<(&str, &str)> {
            let now = Instant::from_micros(start.as_micros() + seconds * 1_000_000);
            stored.iter().map(|one| (one.worker.as_str(), one.gate.state_at(now).as_str())).collect()
        };
        let (runs, waits, stays) = ("running", "waiting", "paused");
        let at =
            |bills, ledger, mail| [("web", runs), ("odd", stays), ("bills", bills), ("ledger", ledger), ("mail", mail)];
        assert_eq!(states(0), at(waits, waits, waits));
        assert_eq!(states(30), at(waits, runs, waits));
        assert_eq!(states(60), at(runs, runs, waits));
        assert_eq!(states(65), at(runs, runs, runs));

        assert_eq!(second.write(|conn| gates::resume_all(conn, false, ORIGIN)).unwrap(), [], "nobody's turn moves");
        let own = second.write(|conn| gates::resume_all(conn, true, ORIGIN)).unwrap();
        assert_eq!(own.iter().map(|(worker, _)| worker.as_str()).collect::<Vec<_>>(), ["odd"]);
        let again = second.write(|conn| gates::pause_all(conn, ORIGIN)).unwrap();
        assert_eq!(again.len(), 5, "those that wait are paused too");
    });
}

#[test]
fn switching_needs_a_reason_and_leaves_audit_rows_in_the_chain() {
    each_database(|database| {
        let store = open(&database);
        make(&store, "mail", Settings::default());
        let silent = Origin { actor: "ada", reason: "  " };
        let refusals = [
            store.write(|conn| gates::pause(conn, &name("mail"), silent)).unwrap_err(),
            store.write(|conn| gates::resume(conn, &name("mail"), 0, silent)).unwrap_err(),
            store.write(|conn| gates::pause_all(conn, silent)).unwrap_err(),
            store.write(|conn| gates::resume_all(conn, false, silent)).unwrap_err(),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, StoreError::NoReason(_)), "{refusal}");
        }
        let Found { now, found } = store.write(|conn| gates::pause(conn, &name("mail"), ORIGIN)).unwrap();
        assert_eq!((found.gate.state_at(now), found.gate.switch), (State::Paused, Switch::Pause));
        assert_eq!((found.switched_by.as_str(), found.switch_reason.as_str()), ("ada", "a test"));
        let Found { now, found } = store.write(|conn| gates::resume(conn, &name("mail"), 60, ORIGIN)).unwrap();
        assert!(matches!(found.gate.state_at(now), State::Waiting { .. }));
        store.write(|conn| gates::pause_all(conn, ORIGIN)).unwrap();
        store.write(|conn| gates::resume_all(conn, false, ORIGIN)).unwrap();
        store.write(|conn| gates::remove(conn, &name("mail"), None, ORIGIN)).unwrap();
        let filter = Filter { subject: Some("gate/mail".into()), ..Filter::default() };
        let rows = store.read(|conn| audit::list(conn, &filter, &PageRequest::first())).unwrap().items;
        let mut actions: Vec<&str> = rows.iter().map(|row| row.action.as_str()).collect();
        actions.reverse();
        assert_eq!(
            actions,
            ["gate.create", "gate.pause", "gate.resume", "gate.pause_all", "gate.resume_all", "gate.remove"]
        );
        assert!(rows.iter().all(|row| row.reason == "a test" && row.actor == "ada"));
        assert!(matches!(store.read(audit::verify).unwrap(), Verdict::Whole { .. }));
    });
}

#[test]
fn settings_are_written_against_the_version_that_was_seen() {
    each_database(|database| {
        let store = open(&database);
        let set = |settings: Settings, seen| {
            store.write(|conn| gates::set(conn, &name("mail"), settings.clone(), seen, ORIGIN))
        };
        assert!(matches!(set(Settings::default(), Some(1)), Err(StoreError::NotFound { .. })));
        let (first, is_new) = set(Settings::default(), None).unwrap();
        assert_eq!((first.found.version, is_new), (1, true));
        store.write(|conn| gates::pause(conn, &name("mail"), ORIGIN)).unwrap();
        assert!(matches!(set(single(9), Some(1)), Err(StoreError::Stale { current: 2, .. })));
        let (second, is_new) = set(single(9), Some(2)).unwrap();
        assert_eq!((second.found.version, is_new, second.found.gate.switch), (3, false, Switch::Pause), "still paused");
        assert!(matches!(set(single(1), None), Err(StoreError::InvalidGate(_))));
        let counts = store.read(gates::count).unwrap();
        assert_eq!((counts.running, counts.paused, counts.leases_held), (0, 1, 0));
    });
}

#[test]
fn tokens_grow_for_ever_also_when_the_gate_was_removed_meanwhile() {
    each_database(|database| {
        let store = open(&database);
        make(&store, "mail", single(30));
        let first = acquire(&store, "mail", "a").unwrap();
        assert!(matches!(acquire(&store, "mail", "b"), Err(Refusal::Held { holder, .. }) if holder == "a"));
        assert!(matches!(acquire(&store, "mail", "a"), Err(Refusal::Held { .. })), "not even its holder gets it twice");
        assert!(matches!(renew(&store, "mail", &first), Renewal::Renewed(lease) if lease.fencing == first.fencing));

        // Stopped for too long: another has it, and the first is told so.
        expire(&mut database.connection(), "mail");
        let second = acquire(&store, "mail", "b").unwrap();
        assert!(second.fencing > first.fencing);
        assert_eq!(renew(&store, "mail", &first), Renewal::Lost);
        assert!(!release(&store, "mail", &first), "an earlier holder releases nothing");
        assert!(matches!(acquire(&store, "mail", "c"), Err(Refusal::Held { holder, .. }) if holder == "b"));

        // A gate that is removed and made again forgets neither the holder nor the token.
        store.write(|conn| gates::remove(conn, &name("mail"), None, ORIGIN)).unwrap();
        let claim = Claim { holder: "b", fencing: second.fencing };
        let removed = store.write(|conn| worker_leases::renew(conn, &name("mail"), &claim)).unwrap_err();
        assert!(matches!(removed, StoreError::NotFound { what: "gate", .. }), "{removed}");
        make(&store, "mail", single(30));
        assert!(matches!(acquire(&store, "mail", "c"), Err(Refusal::Held { holder, .. }) if holder == "b"));
        assert!(release(&store, "mail", &second));
        let third = acquire(&Store::open(database.database()).unwrap(), "mail", "c").unwrap();
        assert!(third.fencing > second.fencing);

        // A database that was set back to before anybody had the lease.
        database.connection().batch("DELETE FROM svc_changeover_worker_leases").unwrap();
        while jiff::Timestamp::now().as_millisecond() <= third.fencing {
            std::thread::yield_now();
        }
        assert!(acquire(&store, "mail", "d").unwrap().fencing > third.fencing);
    });
}

#[test]
fn a_pause_while_held_ends_the_lease_and_lets_nobody_in_before_the_holder_has_stopped() {
    each_database(|database| {
        let store = open(&database);
        make(&store, "mail", single(60));
        let first = acquire(&store, "mail", "a").unwrap();
        store.write(|conn| gates::pause(conn, &name("mail"), ORIGIN)).unwrap();
        let Renewal::Stop(stopped, State::Paused) = renew(&store, "mail", &first) else { panic!("it is paused") };
        assert_eq!(stopped.expires_at, first.expires_at, "not prolonged");
        assert!(matches!(acquire(&store, "mail", "b"), Err(Refusal::Paused(State::Paused))));
        store.write(|conn| gates::resume(conn, &name("mail"), 0, ORIGIN)).unwrap();
        assert!(matches!(acquire(&store, "mail", "b"), Err(Refusal::Held { .. })), "the first may still be stopping");
        assert_eq!(renew(&store, "mail", &first), Renewal::Lost, "it was told to stop");
        assert!(release(&store, "mail", &first));
        assert!(acquire(&store, "mail", "b").is_ok());
    });
}

#[test]
fn of_many_who_ask_at_once_one_gets_it_each_time() {
    each_database(|database| {
        make(&open(&database), "hot", single(60));
        let (askers, rounds) = (5, 12);
        let barrier = Barrier::new(askers);
        let tokens: Vec<(usize, i64)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..askers)
                .map(|number| {
                    let (database, barrier) = (&database, &barrier);
                    scope.spawn(move || {
                        let store = Store::unprepared(database.database());
                        let mut won = Vec::new();
                        for round in 0..rounds {
                            barrier.wait();
                            let lease = acquire(&store, "hot", &format!("{number}"));
                            barrier.wait();
                            if let Ok(lease) = lease {
                                won.push((round, lease.fencing));
                                assert!(release(&store, "hot", &lease));
                            }
                            barrier.wait();
                        }
                        won
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut tokens = tokens;
        tokens.sort_unstable();
        assert_eq!(tokens.len(), rounds, "one winner a round: {tokens:?}");
        assert!(tokens.windows(2).all(|pair| pair[0].1 < pair[1].1), "{tokens:?}");
        assert_eq!(tokens.iter().map(|(_, token)| token).collect::<BTreeSet<_>>().len(), rounds);
    });
}
