//! Leases: one holder at a time, whoever asks and however many at once; the number only grows; a dead holder's lease passes on.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use changeover::store::leases::{Lease, claim, release, renew};

use super::open;
use crate::support::each_database;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn one_holder_at_a_time_and_the_number_only_grows() {
    each_database(|database| {
        let store = open(&database);
        let ask = |name: &str, holder: &str, ttl| store.write(|conn| claim(conn, name, holder, ttl)).unwrap();
        let first = ask("pending", "a", LONG).unwrap();
        assert_eq!((first.fencing, first.holder.as_str()), (1, "a"));
        assert_eq!(ask("pending", "b", LONG), None);
        assert_eq!(ask("pending", "a", LONG), None, "not even its holder gets it twice");
        assert_eq!(ask("sentinel", "b", LONG).unwrap().fencing, 1, "another lease");

        let renewed = store.write(|conn| renew(conn, &first, LONG)).unwrap().unwrap();
        assert!(renewed.fencing == 1 && renewed.until >= first.until);
        store.write(|conn| release(conn, &first)).unwrap();
        let second = ask("pending", "b", LONG).unwrap();
        assert_eq!(second.fencing, 2, "a release does not forget the number");
        assert_eq!(store.write(|conn| renew(conn, &first, LONG)).unwrap(), None);
        store.write(|conn| release(conn, &first)).unwrap();
        assert_eq!(ask("pending", "a", LONG), None, "an earlier holder releases nothing");
    });
}

#[test]
fn a_lease_that_is_not_renewed_passes_on() {
    each_database(|database| {
        let store = open(&database);
        let first = store.write(|conn| claim(conn, "work", "dead", Duration::from_millis(300))).unwrap().unwrap();
        let second = wait_for(&database, "work", "alive");
        assert!(Instant::now() >= first.until, "the holder believes in its lease no longer than the database does");
        assert_eq!(second.fencing, 2);
        assert_eq!(store.write(|conn| renew(conn, &first, LONG)).unwrap(), None, "it is another's");
    });
}

#[test]
fn a_lease_that_ran_out_unwanted_is_still_its_holders() {
    each_database(|database| {
        let store = open(&database);
        let first = store.write(|conn| claim(conn, "work", "a", Duration::ZERO)).unwrap().unwrap();
        let renewed = store.write(|conn| renew(conn, &first, LONG)).unwrap().unwrap();
        assert_eq!(renewed.fencing, 1);
        assert_eq!(store.write(|conn| claim(conn, "work", "b", LONG)).unwrap(), None);
    });
}

#[test]
fn of_many_who_ask_at_once_one_gets_it_each_time() {
    each_database(|database| {
        drop(open(&database));
        let (askers, rounds) = (6, 20);
        let barrier = Barrier::new(askers);
        let fencings: Vec<i64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..askers)
                .map(|number| {
                    let (database, barrier) = (&database, &barrier);
                    scope.spawn(move || {
                        let mut connection = database.connection();
                        let mut won = Vec::new();
                        for round in 0..rounds {
                            barrier.wait();
                            let lease = claim(&mut connection, "hot", &format!("{number}/{round}"), LONG).unwrap();
                            barrier.wait();
                            if let Some(lease) = lease {
                                won.push(lease.fencing);
                                release(&mut connection, &lease).unwrap();
                            }
                            barrier.wait();
                        }
                        won
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(fencings.len(), rounds, "one winner a round");
        assert_eq!(fencings.iter().collect::<BTreeSet<_>>().len(), rounds, "no number twice");
    });
}

fn wait_for(database: &crate::support::TestDatabase, name: &str, holder: &str) -> Lease {
    let mut connection = database.connection();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(lease) = claim(&mut connection, name, holder, LONG).unwrap() {
            return lease;
        }
        assert!(Instant::now() < deadline, "the lease never passed on");
        std::thread::yield_now();
    }
}
