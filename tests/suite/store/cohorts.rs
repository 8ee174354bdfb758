//! A cohort's leaves behave as one sorted set, whatever is added, removed and replaced.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use changeover::flags::Cohort;
use changeover::primitives::CohortName;
use changeover::store::cohort_generations::Keep;
use changeover::store::cohort_leaves::AsOf;
use changeover::store::cohort_merge::{Action, Comparison};
use changeover::store::cohorts::{self, Edit};
use changeover::store::sorted_ids::SortedIds;
use changeover::store::upload::{self, UploadFormat};
use changeover::store::{PageRequest, Store, cohort_generations, cohort_leaves, cohort_memory, cohort_staging};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{ORIGIN, open};
use crate::support::each_database;

#[derive(Debug, Clone)]
enum Step {
    Replace(BTreeSet<u32>),
    Add(BTreeSet<u32>),
    Remove(BTreeSet<u32>),
    /// Staged, looked at, and activated.
    Stage(Action, BTreeSet<u32>),
    /// Back to one of the generations so far.
    Restore(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    // Dense runs of thousands, so that leaves are split, emptied and joined at their borders; and a few single ids.
    let run = (0u32..20_000, 1u32..6_000).prop_map(|(from, length)| (from..from + length).collect::<BTreeSet<u32>>());
    let few = prop::collection::btree_set(0u32..30_000, 1..5);
    let ids = prop_oneof![run, few];
    (0..8u8, ids, any::<prop::sample::Index>()).prop_map(|(kind, ids, index)| match kind {
        0 => Step::Replace(ids),
        1 | 2 => Step::Add(ids),
        3 | 4 => Step::Remove(ids),
        5 => Step::Stage(Action::Replace, ids),
        6 => Step::Stage(Action::Remove, ids),
        _ => Step::Restore(index),
    })
}

/// What a cohort should be, was, and is in the memory of a server that follows.
struct Model {
    name: CohortName,
    ids: BTreeSet<String>,
    generations: Vec<(i64, BTreeSet<String>)>,
    held: Option<Arc<Cohort>>,
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
                let created = store.write(|conn| cohorts::create(conn, &name, "", ORIGIN)).unwrap();
                let generations = vec![(created.generation, BTreeSet::new())];
                let mut model = Model { name, ids: BTreeSet::new(), generations, held: None };
                for step in steps {
                    apply(&store, &mut model, &step);
                }
                all_generations_are_what_they_were(&store, &model);
                Ok(())
            })
            .unwrap();
    });
}

fn texts(ids: &BTreeSet<u32>) -> BTreeSet<String> {
    ids.iter().map(u32::to_string).collect()
}

fn apply(store: &Store, model: &mut Model, step: &Step) {
    let (name, before) = (&model.name, &model.ids);
    let (given, action) = match step {
        Step::Replace(ids) => (texts(ids), Action::Replace),
        Step::Add(ids) => (texts(ids), Action::Add),
        Step::Remove(ids) => (texts(ids), Action::Remove),
        Step::Stage(action, ids) => (texts(ids), *action),
        Step::Restore(index) => (index.get(&model.generations).1.clone(), Action::Replace),
    };
    let wanted: BTreeSet<String> = match action {
        Action::Replace => given.clone(),
        Action::Add => before.union(&given).cloned().collect(),
        Action::Remove => before.difference(&given).cloned().collect(),
    };
    let ids = SortedIds::of(&given);
    let edited = store.write(|conn| match step {
        Step::Replace(_) => cohorts::edit(conn, name, Edit::Replace(&ids), None, ORIGIN),
        Step::Add(_) => cohorts::edit(conn, name, Edit::Add(&ids), None, ORIGIN),
        Step::Remove(_) => cohorts::edit(conn, name, Edit::Remove(&ids), None, ORIGIN),
        Step::Stage(action, _) => {
            let lines: String = given.iter().map(|id| format!("{id}\n")).collect();
            let upload = upload::read(lines.as_bytes(), UploadFormat::Lines).unwrap();
            let staged = cohort_staging::stage(conn, name, *action, &upload, ORIGIN)?;
            let preview = cohort_staging::preview(conn, &staged)?;
            assert_comparison(&preview, before, &wanted);
            cohorts::edit(conn, name, Edit::Activate(&staged), Some(staged.base_generation), ORIGIN)
        }
        Step::Restore(index) => cohorts::edit(conn, name, Edit::Restore(index.get(&model.generations).0), None, ORIGIN),
    });
    let edited = edited.unwrap();
    assert_eq!(edited.added, wanted.difference(before).count() as u64);
    assert_eq!(edited.removed, before.difference(&wanted).count() as u64);
    assert_eq!(edited.cohort.id_count, wanted.len() as i64);
    let leaves = store.read(|conn| cohort_leaves::load(conn, name)).unwrap();
    assert!(leaves.iter().all(|leaf| (1..=4_096).contains(&leaf.lines().count())), "leaves keep their size");
    let found: Vec<&str> = leaves.iter().flat_map(|leaf| leaf.lines()).collect();
    assert!(found.iter().copied().eq(wanted.iter().map(String::as_str)), "the set, in order, each once");
    let held = store.read(|conn| cohort_memory::read(conn, &edited.cohort, model.held.as_ref())).unwrap().unwrap();
    assert_eq!(held.ids().len(), wanted.len(), "memory follows");
    assert!(wanted.iter().all(|id| held.contains(id)), "memory follows");
    for id in ["0", "7", "19999", "x"] {
        let member = store.read(|conn| cohort_leaves::contains(conn, name, id)).unwrap();
        assert_eq!(member, wanted.contains(id), "{id}");
    }
    model.generations.push((edited.cohort.generation, wanted.clone()));
    (model.ids, model.held) = (wanted, Some(held));
}

fn assert_comparison(found: &Comparison, before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let come: Vec<&String> = after.difference(before).collect();
    let go: Vec<&String> = before.difference(after).collect();
    assert_eq!((found.added, found.removed), (come.len() as u64, go.len() as u64));
    assert!(found.come.iter().eq(come.iter().copied().take(100)), "the first who come");
    assert!(found.go.iter().eq(go.iter().copied().take(100)), "the first who go");
}

fn all_generations_are_what_they_were(store: &Store, model: &Model) {
    let name = &model.name;
    for (generation, ids) in &model.generations {
        let found = store.read(|conn| cohort_leaves::load_as_of(conn, name, *generation)).unwrap();
        assert_eq!(found.len(), ids.len());
        assert!(ids.iter().all(|id| found.contains(id)));
        let stored = store.read(|conn| cohort_generations::get(conn, name, *generation)).unwrap();
        let sha256 = store.read(|conn| cohort_generations::checksum(conn, &stored)).unwrap();
        assert_eq!((stored.id_count, sha256.as_str()), (ids.len() as i64, SortedIds::of(ids).sha256()));
    }
    for pair in model.generations.windows(2).chain([&model.generations[..]]) {
        let ((from, before), (to, after)) = (&pair[0], &pair[pair.len() - 1]);
        for (ends, before, after) in [((*from, *to), before, after), ((*to, *from), after, before)] {
            let found = store.read(|conn| cohort_generations::compare(conn, name, ends)).unwrap();
            assert_comparison(&found, before, after);
        }
    }
}

#[test]
fn old_generations_go_and_their_counts_stay() {
    each_database(|database| {
        let store = open(&database);
        let name = CohortName::new("c").unwrap();
        store.write(|conn| cohorts::create(conn, &name, "", ORIGIN)).unwrap();
        let mut generations = Vec::new();
        for number in 0..6 {
            let ids = SortedIds::of([number.to_string(), String::from("always")]);
            let edited = store.write(|conn| cohorts::edit(conn, &name, Edit::Replace(&ids), None, ORIGIN)).unwrap();
            generations.push(edited.cohort.generation);
        }
        let keep = Keep { count_min: 2, days: 0, count_max: 1_000 };
        let forgotten = store.write(|conn| cohort_generations::prune(conn, &name, keep)).unwrap();
        assert_eq!(forgotten, 5, "the creation and four replacements");
        for (number, generation) in generations.iter().enumerate() {
            let found = store.read(|conn| cohort_generations::get_readable(conn, &name, *generation));
            assert_eq!(found.is_ok(), number >= 4, "{number}");
            let restored = store.write(|conn| cohorts::edit(conn, &name, Edit::Restore(*generation), None, ORIGIN));
            assert_eq!(restored.is_ok(), number >= 4, "{number}");
        }
        let leaves = "SELECT count(*) AS n FROM svc_changeover_cohort_leaves";
        assert!(database.connection().get_row(leaves, &[]).unwrap().integer("n").unwrap() <= 4);
        let page = store.read(|conn| cohort_generations::list(conn, &name, &PageRequest::first())).unwrap();
        assert_eq!(page.items.len(), 9, "every generation stays in the history");
        assert!(page.items.iter().rev().skip(1).all(|found| found.id_count == 2));
    });
}

#[test]
fn a_removed_cohort_can_be_read_as_of_then_and_made_anew() {
    each_database(|database| {
        let store = open(&database);
        let name = CohortName::new("c").unwrap();
        store.write(|conn| cohorts::create(conn, &name, "", ORIGIN)).unwrap();
        let ids = SortedIds::of(["a", "b"]);
        let first = store.write(|conn| cohorts::edit(conn, &name, Edit::Add(&ids), None, ORIGIN)).unwrap();
        store.write(|conn| cohorts::remove(conn, &name, None, ORIGIN)).unwrap();
        let gone = store.read(|conn| cohort_generations::as_of(conn, &name, first.cohort.generation + 1)).unwrap();
        assert!(gone.is_none());
        store.write(|conn| cohorts::create(conn, &name, "", ORIGIN)).unwrap();
        assert!(store.read(|conn| cohort_leaves::load(conn, &name)).unwrap().is_empty());
        let then = store.read(|conn| cohort_leaves::load_as_of(conn, &name, first.cohort.generation)).unwrap();
        assert!(then.contains("a") && then.len() == 2);
    });
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
