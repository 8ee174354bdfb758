//! A comparison in chunks: the same answer whatever their size, watched, stopped, taken up again, and of what has changed alone.

use changeover::allocation::{ComparePart, Comparison, ExceptionLine};
use changeover::translation::compare::{CompareError, CompareRequest, CompareWatcher, Compared, compare};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::ledger::Ledger;
use crate::support::{TestDatabase, each_database};

/// Keeps all that it is told, gives back what it is asked for, and stops the comparison where it should.
#[derive(Default)]
struct Keeping {
    stop_after: Option<usize>,
    progress: Vec<(u64, u64)>,
    exceptions: Vec<ExceptionLine>,
    parts: Vec<ComparePart>,
    interrupted: Vec<ComparePart>,
    earlier: Vec<ComparePart>,
}

/// As a store would keep it.
fn stored(part: &ComparePart) -> ComparePart {
    serde_json::from_str(&serde_json::to_string(part).unwrap()).unwrap()
}

fn find(parts: &[ComparePart], number: u64) -> Option<ComparePart> {
    parts.get(usize::try_from(number).unwrap()).map(stored)
}

impl CompareWatcher for Keeping {
    fn progress(&mut self, done: u64, total: u64) -> bool {
        self.progress.push((done, total));
        self.stop_after.is_none_or(|parts| self.parts.len() < parts)
    }

    fn exceptions(&mut self, lines: Vec<ExceptionLine>) -> Result<(), CompareError> {
        self.exceptions.extend(lines);
        Ok(())
    }

    fn checkpoint(&mut self, part: &ComparePart) -> Result<(), CompareError> {
        self.parts.push(part.clone());
        Ok(())
    }

    fn interrupted(&mut self, number: u64) -> Result<Option<ComparePart>, CompareError> {
        Ok(find(&self.interrupted, number))
    }

    fn earlier(&mut self, number: u64) -> Result<Option<ComparePart>, CompareError> {
        Ok(find(&self.earlier, number))
    }
}

fn run(ledger: &mut Ledger, chunk_charges: u64, watcher: &mut Keeping) -> Option<Comparison> {
    let asked = [String::from("3"), String::from("no such charge"), String::from("12")];
    let url = ledger.database.url().parse().unwrap();
    let request = CompareRequest {
        chunk_charges,
        // Every other size by two connections at once, where there can be two.
        beside: (chunk_charges % 2 == 1).then_some(&url),
        checksums: true,
        asked_charges: &asked,
        exceptions_max: 7,
        movers_max: 3,
        ..CompareRequest::of(&ledger.allocation)
    };
    match compare(&mut ledger.connection, &request, watcher).unwrap() {
        Compared::Finished(comparison) => Some(*comparison),
        Compared::Stopped => None,
    }
}

fn json(ledger: &mut Ledger, chunk_charges: u64) -> String {
    let comparison = run(ledger, chunk_charges, &mut Keeping::default()).unwrap();
    serde_json::to_string(&comparison).unwrap()
}

/// One charge as the properties draw it: which payers, how much, and which fault.
type Drawn = (i64, usize, u8);

fn draw() -> impl Strategy<Value = Vec<Drawn>> {
    prop::collection::vec((-500i64..5000, 1usize..4, 0u8..12), 1..40)
}

/// Charges `1`, `2`, … with faults, refunds across chunks and allocations without a charge.
fn plant(ledger: &mut Ledger, drawn: &[Drawn]) {
    let payers = ["7", "11", "100"];
    for (place, (amount, count, fault)) in drawn.iter().enumerate() {
        let id = (place + 1).to_string();
        let payers = &payers[..*count];
        let period = if place % 3 == 0 { "2026-10" } else { "2026-11" };
        match fault {
            9 if place > 0 => ledger.refund(&id, &(place / 2 + 1).to_string(), period, *amount, payers),
            10 => ledger.charge_in(&id, period, "JPY", *amount, payers),
            _ => ledger.charge(&id, period, *amount, payers),
        }
        let sql = match fault {
            0 => format!("DELETE FROM charges WHERE id = '{id}'"),
            1 => format!("DELETE FROM new_parts WHERE charge_id = '{id}'"),
            2 => format!("UPDATE new_parts SET amount = amount + 1 WHERE charge_id = '{id}' AND payer = '7'"),
            3 => format!("UPDATE new_parts SET payer = '12' WHERE charge_id = '{id}' AND payer = '7'"),
            4 => format!(
                "INSERT INTO new_parts SELECT charge_id, payer, 0, currency FROM new_parts WHERE charge_id = '{id}'"
            ),
            5 => format!("UPDATE new_parts SET payer = NULL WHERE charge_id = '{id}' AND payer = '7'"),
            6 => format!("INSERT INTO members VALUES ('{id}', '99')"),
            7 => format!(
                "UPDATE new_parts SET payer = '12' WHERE charge_id = '{id}'; UPDATE members SET payer = '12' WHERE charge_id = '{id}'"
            ),
            _ => continue,
        };
        ledger.run(&sql);
    }
}

/// Ids and payers as integers, so that an index on them could be used.
fn make_integers(ledger: &mut Ledger) {
    let allocation = &mut ledger.allocation;
    let queries = [&mut allocation.charges, &mut allocation.old, &mut allocation.new, &mut allocation.group];
    for query in queries.into_iter().chain(allocation.expected_payers.as_mut()).chain(allocation.reverses.as_mut()) {
        let columns = if query.value.contains("payer") { ", CAST(payer AS INTEGER) AS payer" } else { "" };
        query.value = query
            .value
            .replace("SELECT charge_id", "SELECT CAST(charge_id AS INTEGER) AS charge_id")
            .replace("SELECT id AS", "SELECT CAST(id AS INTEGER) AS")
            .replace("charge_id, reverses_id", "charge_id, CAST(reverses_id AS INTEGER) AS reverses_id")
            .replace(", payer", columns);
    }
}

fn faulty(database: TestDatabase) -> Ledger {
    let mut ledger = Ledger::new(database);
    let drawn: Vec<Drawn> =
        (0..40u8).map(|place| (i64::from(place) * 37 - 200, usize::from(place % 3) + 1, place % 12)).collect();
    plant(&mut ledger, &drawn);
    ledger
}

#[test]
fn the_same_bytes_whatever_the_size_of_chunks_and_the_type_of_ids() {
    each_database(|database| {
        let dialect = database.dialect();
        let mut runner = TestRunner::new_with_rng(
            Config { cases: 6, failure_persistence: None, ..Config::default() },
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        runner
            .run(&draw(), |drawn| {
                let mut ledger = Ledger::new(TestDatabase::new(dialect));
                plant(&mut ledger, &drawn);
                let whole = json(&mut ledger, 0);
                for chunk_charges in [1, 2, 7, 1000] {
                    prop_assert_eq!(&json(&mut ledger, chunk_charges), &whole, "text, {}", chunk_charges);
                }
                make_integers(&mut ledger);
                for chunk_charges in [0, 1, 7, 1000] {
                    prop_assert_eq!(&json(&mut ledger, chunk_charges), &whole, "integers, {}", chunk_charges);
                }
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn whoever_watches_sees_every_exception_once_and_progress_to_the_end() {
    each_database(|database| {
        let mut ledger = faulty(database);
        for chunk_charges in [0, 5] {
            let mut watcher = Keeping::default();
            let comparison = run(&mut ledger, chunk_charges, &mut watcher).unwrap();
            let mut ids: Vec<&str> = watcher.exceptions.iter().map(|line| line.charge_id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(u64::try_from(ids.len()).unwrap(), comparison.exceptions_total);
            assert_eq!(watcher.exceptions.len(), ids.len());
            assert_eq!(comparison.exceptions.len(), 7);
            for line in &comparison.exceptions {
                assert!(watcher.exceptions.contains(line), "{line:?}");
            }
            assert_eq!(comparison.asked.iter().map(|asked| asked.charge_id.as_str()).collect::<Vec<_>>(), ["3", "12"]);
            let total = comparison.charges();
            assert!(watcher.progress.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            assert_eq!(watcher.progress.first(), Some(&(0, total)));
            assert_eq!(watcher.progress.last(), Some(&(total, total)));
        }
    });
}

#[test]
fn a_stopped_comparison_goes_on_after_its_parts() {
    each_database(|database| {
        let mut ledger = faulty(database);
        let whole = json(&mut ledger, 0);
        let mut first = Keeping { stop_after: Some(3), ..Keeping::default() };
        assert_eq!(run(&mut ledger, 5, &mut first), None);
        assert_eq!(first.parts.len(), 3);
        let mut second = Keeping { interrupted: first.parts.clone(), ..Keeping::default() };
        let comparison = run(&mut ledger, 5, &mut second).unwrap();
        assert_eq!(serde_json::to_string(&comparison).unwrap(), whole);
        assert_eq!(second.parts[..3], first.parts[..], "they are told again, as they were");
        // Parts of another question are not taken.
        ledger.allocation.expected_payers = None;
        let mut third = Keeping { interrupted: first.parts.clone(), ..Keeping::default() };
        let other = run(&mut ledger, 5, &mut third).unwrap();
        assert_eq!(serde_json::to_string(&other).unwrap(), json(&mut ledger, 0));
    });
}

#[test]
fn only_chunks_that_have_changed_are_compared_again() {
    each_database(|database| {
        let mut ledger = faulty(database);
        let mut first = Keeping::default();
        run(&mut ledger, 5, &mut first).unwrap();
        assert!(first.parts.len() > 4);

        let mut again = Keeping { earlier: first.parts.clone(), ..Keeping::default() };
        run(&mut ledger, 5, &mut again).unwrap();
        assert_eq!(again.parts, first.parts);
        assert_eq!(again.exceptions.len(), first.exceptions.len(), "whoever keeps exceptions is told all of them");

        let last = first.parts.last().unwrap().from.clone().unwrap();
        for change in [
            String::from("UPDATE new_parts SET amount = amount + 1 WHERE charge_id = '9' AND payer = '7'"),
            String::from("INSERT INTO members VALUES ('9', 'somebody else')"),
            String::from("UPDATE charge_groups SET group_id = 'another' WHERE charge_id = '9'"),
            format!("DELETE FROM old_parts WHERE charge_id = '{last}'"),
        ] {
            ledger.run(&change);
            let mut since = Keeping { earlier: first.parts.clone(), ..Keeping::default() };
            let comparison = run(&mut ledger, 5, &mut since).unwrap();
            assert_eq!(serde_json::to_string(&comparison).unwrap(), json(&mut ledger, 0), "{change}");
            let unchanged = since.parts.iter().filter(|part| first.parts.contains(part)).count();
            assert_eq!(unchanged, first.parts.len() - 1, "{change}");
            first = Keeping { parts: since.parts, ..Keeping::default() };
        }
        // A refund in one chunk of a charge in another.
        ledger.refund("90", "12", "2026-12", -207, &["7"]);
        let mut with_refund = Keeping::default();
        run(&mut ledger, 5, &mut with_refund).unwrap();
        ledger.run("UPDATE new_parts SET payer = '12' WHERE charge_id = '12' AND payer = '7'");
        let mut since = Keeping { earlier: with_refund.parts.clone(), ..Keeping::default() };
        let comparison = run(&mut ledger, 5, &mut since).unwrap();
        assert_eq!(serde_json::to_string(&comparison).unwrap(), json(&mut ledger, 0));
        assert!(!with_refund.parts.contains(since.parts.last().unwrap()), "the refund is looked at again");
        first = since;
        // New charges come after the last one, and its chunk does not grow without end.
        for id in 100..120 {
            ledger.charge(&id.to_string(), "2026-11", 10, &["7"]);
        }
        ledger.charge("999", "2026-11", 10, &["7"]);
        let mut since = Keeping { earlier: first.parts.clone(), ..Keeping::default() };
        let comparison = run(&mut ledger, 5, &mut since).unwrap();
        assert_eq!(serde_json::to_string(&comparison).unwrap(), json(&mut ledger, 0));
        assert!(since.parts.last().unwrap().charges <= 6);
    });
}
