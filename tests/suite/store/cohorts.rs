//! A cohort's leaves behave as one sorted set, whatever is added, removed and replaced.

use std::cell::Cell;
use std::collections::BTreeSet;

use changeover::primitives::CohortName;
use changeover::store::cohort_leaves::AsOf;
use changeover::store::cohorts::{self, Edit};
use changeover::store::sorted_ids::SortedIds;
use changeover::store::{PageRequest, Store, cohort_leaves};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{ORIGIN, open};
use crate::support::each_database;

#[derive(Debug, Clone)]
enum Step {
    Replace(BTreeSet<u32>),
    Add(BTreeSet<u32>),
    Remove(BTreeSet<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    // Dense runs of thousands, so that leaves are split, emptied and joined at their borders; and a few single ids.
    let run = (0u32..20_000, 1u32..6_000).prop_map(|(from, length)| (from..from + length).collect::<BTreeSet<u32>>());
    let few = prop::collection::btree_set(0u32..30_000, 1..5);
    let ids = prop_oneof![run, few];
    (0..5u8, ids).prop_map(|(kind, ids)| match kind {
        0 => Step::Replace(ids),
        1 | 2 => Step::Add(ids),
        _ => Step::Remove(ids),
    })
}

#[test]
fn leaves_are_one_set() {
    each_database(|database| {
        let store = open(&database);
        let number = Cell::new(0);
        let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
        runner
            .run(&prop::collection::vec(step(), 1..8), |steps| {
                number.set(number.get() + 1);
                let name = CohortName::new(&format!("c{}", number.get())).unwrap();
                store.write(|conn| cohorts::create(conn, &name, "", ORIGIN)).unwrap();
                let mut model = BTreeSet::new();
                for step in steps {
                    apply(&store, &name, &mut model, step);
                }
                Ok(())
            })
            .unwrap();
    });
}

fn apply(store: &Store, name: &CohortName, model: &mut BTreeSet<String>, step: Step) {
    let texts = |ids: &BTreeSet<u32>| {
        let mut texts: Vec<String> = ids.iter().map(u32::to_string).collect();
        texts.sort();
        texts
    };
    let (ids, wanted): (Vec<String>, BTreeSet<String>) = match &step {
        Step::Replace(ids) => (texts(ids), texts(ids).into_iter().collect()),
        Step::Add(ids) => (texts(ids), model.iter().cloned().chain(texts(ids)).collect()),
        Step::Remove(ids) => {
            let gone: BTreeSet<String> = texts(ids).into_iter().collect();
            (texts(ids), model.difference(&gone).cloned().collect())
        }
    };
    let ids = SortedIds::of(&ids);
    let edit = match step {
        Step::Replace(_) => Edit::Replace(&ids),
        Step::Add(_) => Edit::Add(&ids),
        Step::Remove(_) => Edit::Remove(&ids),
    };
    let edited = store.write(|conn| cohorts::edit(conn, name, edit, None, ORIGIN)).unwrap();
    assert_eq!(edited.added, wanted.difference(model).count() as u64);
    assert_eq!(edited.removed, model.difference(&wanted).count() as u64);
    assert_eq!(edited.cohort.id_count, wanted.len() as i64);
    let leaves = store.read(|conn| cohort_leaves::load(conn, name)).unwrap();
    assert!(leaves.iter().all(|leaf| (1..=4_096).contains(&leaf.lines().count())), "leaves keep their size");
    let found: Vec<&str> = leaves.iter().flat_map(|leaf| leaf.lines()).collect();
    assert!(found.iter().copied().eq(wanted.iter().map(String::as_str)), "the set, in order, each once");
    for id in ["0", "7", "19999", "x"] {
        let member = store.read(|conn| cohort_leaves::contains(conn, name, id)).unwrap();
        assert_eq!(member, wanted.contains(id), "{id}");
    }
    *model = wanted;
}

#[test]
fn pages_go_through_all_ids_once() {
    each_database(|database| {
        let store = open(&database);
        let name = CohortName::new("c").unwrap();
        let mut ids: Vec<String> = (0..5_000).map(|id| id.to_string()).collect();
        ids.sort();
        store.write(|conn| cohorts::create(conn, &name, "", ORIGIN)).unwrap();
        store.write(|conn| cohorts::edit(conn, &name, Edit::Add(&SortedIds::of(&ids)), None, ORIGIN)).unwrap();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let request = PageRequest { after, limit: Some(499) };
            let page = store.read(|conn| cohort_leaves::list(conn, &name, AsOf::Now, &request)).unwrap();
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, ids);
    });
}
