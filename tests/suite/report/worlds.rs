//! Small random worlds to compare: mostly right, with faults of every kind planted anywhere, names that are hard to tell apart, and
//! amounts from nothing to nearly 2^62.

use std::collections::BTreeSet;

use changeover::allocation::{Share, split};
use proptest::prelude::*;
use proptest::sample::Index;

use super::model::{Baseline, Charge, Routed, Row, World};

/// The type that the change file's queries give ids and payers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    Text,
    Integer,
    /// Integers in one query and text in another.
    Mixed,
    Uuid,
}

/// A world with how it is asked for.
#[derive(Debug, Clone)]
pub struct Case {
    pub world: World,
    pub ids: Ids,
    pub chunk_charges: u64,
    /// On PostgreSQL: decimals that the queries give amounts, which are stored as integers of the smallest unit.
    pub scale: Option<u8>,
    /// Seed for the order in which rows are stored.
    pub shuffle: u64,
}

/// Pairs that differ only by case, a blank, a leading zero, or how an accent is written.
const TEXTS: [&str; 14] =
    ["a", "A", "a ", " a", "7", "07", "007", "ä", "a\u{308}", "o'brien", "日本", "", "q\"u,o;te", "10"];
const INTEGERS: [&str; 14] = [
    "1",
    "2",
    "9",
    "10",
    "11",
    "99",
    "100",
    "0",
    "-1",
    "-10",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967296",
    "5",
];
const UUIDS: [&str; 14] = [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "7d444840-9dc0-11d1-b245-5ffdce74fad2",
    "7d444840-9dc0-11d1-b245-5ffdce74fad3",
    "0a000000-0000-4000-8000-000000000001",
    "0b000000-0000-4000-8000-000000000001",
    "0c000000-0000-4000-8000-000000000001",
    "0d000000-0000-4000-8000-000000000001",
    "0e000000-0000-4000-8000-000000000001",
    "0f000000-0000-4000-8000-000000000001",
    "10000000-0000-4000-8000-000000000001",
    "11000000-0000-4000-8000-000000000001",
    "12000000-0000-4000-8000-000000000001",
    "13000000-0000-4000-8000-000000000001",
];
const PERIODS: [&str; 4] = ["2026-10", "2026-11", "2026-11 ", "2026-12"];
const CURRENCIES: [&str; 4] = ["EUR", "JPY", "eur", "XQZ"];
const GROUPS: [&str; 4] = ["g", "G", "01", "1"];
const PAYERS: usize = 6;

impl Ids {
    fn name(self, place: usize) -> String {
        let names = match self {
            Self::Text => TEXTS,
            Self::Integer | Self::Mixed => INTEGERS,
            Self::Uuid => UUIDS,
        };
        names[place % names.len()].to_owned()
    }
}

#[derive(Debug, Clone)]
struct Plan {
    period: usize,
    currency: usize,
    amount: i64,
    payers: Vec<usize>,
    old_payer: usize,
    group: Option<usize>,
    /// Whether it refunds an earlier one, and how many eighths of it.
    refund: Option<(Index, i64)>,
    faults: Vec<Fault>,
}

/// One thing that is wrong with a charge, or looks so.
#[derive(Debug, Clone)]
enum Fault {
    NoCharge,
    DropOld,
    DropNew(Index),
    AddNew(usize, i64),
    AddOld(usize, i64),
    Nobody(Index),
    NobodyOld,
    Currency(Index, Option<usize>),
    Bump(Index, i64),
    BumpOld(i64),
    Shift(i64),
    Payer(Index, usize),
    Expect(Option<usize>),
    DoNotExpect(Index),
    Reverses(usize),
    Period(usize),
    NothingLeft,
    OldIsNew,
    GroupTwice,
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => Just(0),
        4 => -9..10i64,
        8 => -100_000..100_000i64,
        2 => -(1i64 << 33)..(1i64 << 33),
        1 => -(1i64 << 61)..(1i64 << 61),
        1 => prop_oneof![Just((1i64 << 62) - 1), Just(-(1i64 << 62) + 1)],
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let (any_row, payer, delta) = (any::<Index>(), 0..PAYERS, prop_oneof![Just(1i64), Just(-1), -50..50i64]);
    prop_oneof![
        1 => Just(Fault::NoCharge),
        1 => Just(Fault::DropOld),
        1 => any_row.clone().prop_map(Fault::DropNew),
        2 => (payer.clone(), prop_oneof![Just(0i64), -5..5i64]).prop_map(|(payer, amount)| Fault::AddNew(payer, amount)),
        2 => (payer.clone(), prop_oneof![Just(0i64), -5..5i64]).prop_map(|(payer, amount)| Fault::AddOld(payer, amount)),
        1 => any_row.clone().prop_map(Fault::Nobody),
        1 => Just(Fault::NobodyOld),
        1 => (any_row.clone(), prop::option::of(0..CURRENCIES.len())).prop_map(|(row, currency)| Fault::Currency(row, currency)),
        1 => (any_row.clone(), delta.clone()).prop_map(|(row, delta)| Fault::Bump(row, delta)),
        1 => delta.clone().prop_map(Fault::BumpOld),
        3 => delta.prop_map(Fault::Shift),
        2 => (any_row.clone(), payer.clone()).prop_map(|(row, payer)| Fault::Payer(row, payer)),
        1 => prop::option::of(payer).prop_map(Fault::Expect),
        1 => any_row.prop_map(Fault::DoNotExpect),
        2 => (0..TEXTS.len()).prop_map(Fault::Reverses),
        1 => (0..PERIODS.len()).prop_map(Fault::Period),
        1 => Just(Fault::NothingLeft),
        1 => Just(Fault::OldIsNew),
        1 => Just(Fault::GroupTwice),
    ]
}

fn plan(faults: usize) -> impl Strategy<Value = Plan> {
    let payers = prop::sample::subsequence((0..PAYERS).collect::<Vec<_>>(), 1..5);
    // A refund of less than nothing takes again, which is a fault.
    let least = if faults == 0 { 0 } else { -1i64 };
    let refund = prop::option::weighted(0.3, (any::<Index>(), prop_oneof![2 => Just(8i64), 1 => least..12i64]));
    let faults = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(fault(), 0..=faults)];
    (
        0..PERIODS.len(),
        0..CURRENCIES.len(),
        amount(),
        payers,
        0..PAYERS,
        prop::option::weighted(0.8, 0..GROUPS.len()),
        refund,
        faults,
    )
        .prop_map(|(period, currency, amount, payers, old_payer, group, refund, faults)| Plan {
            period,
            currency,
            amount,
            payers,
            old_payer,
            group,
            refund,
            faults,
        })
}

/// Worlds in which anything may be wrong.
pub fn any_case() -> impl Strategy<Value = Case> {
    case(3)
}

/// Worlds in which everything is as it should be.
pub fn clean_case() -> impl Strategy<Value = Case> {
    case(0)
}

fn case(faults: usize) -> impl Strategy<Value = Case> {
    let ids = prop_oneof![3 => Just(Ids::Text), 2 => Just(Ids::Integer), 1 => Just(Ids::Mixed), 1 => Just(Ids::Uuid)];
    let plans = prop::collection::vec(plan(faults), 0..TEXTS.len());
    let recorded = prop::collection::btree_set((0..PERIODS.len(), 0..GROUPS.len()), 0..8);
    let routed = prop_oneof![
        1 => Just(Routed::Nobody),
        3 => Just(Routed::AsRecorded),
        1 => Just(Routed::CompleteFrom(String::from("2026-11"))),
    ];
    let closed =
        prop_oneof![2 => Just(None), 1 => Just(Some("")), 2 => Just(Some("2026-11")), 1 => Just(Some("2027-01"))];
    let periods = prop_oneof![3 => Just(Vec::new()), 1 => prop::sample::subsequence(PERIODS.to_vec(), 1..4)];
    let shape = (
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.85),
        0..5u64,
        prop::option::weighted(0.3, 1..12u8),
        any::<u64>(),
    );
    let recorded_closed = prop::collection::btree_map(0..PERIODS.len(), any::<bool>(), 0..3);
    (ids, plans, recorded, routed, closed, recorded_closed, periods, shape).prop_map(
        |(
            ids,
            plans,
            recorded,
            routed,
            closed,
            recorded_closed,
            periods,
            (expects, has_refunds, chunk_charges, scale, shuffle),
        )| {
            let mut world = World {
                charges: Vec::new(),
                old: Vec::new(),
                new: Vec::new(),
                groups: Vec::new(),
                recorded_new: recorded
                    .into_iter()
                    .map(|(period, group)| (PERIODS[period].to_owned(), GROUPS[group].to_owned()))
                    .collect(),
                routed,
                expected: Some(Vec::new()),
                has_refunds,
                closed_before: closed.map(str::to_owned),
                baseline: Baseline {
                    periods: recorded_closed
                        .into_iter()
                        .map(|(period, has_new)| (PERIODS[period].to_owned(), has_new))
                        .collect(),
                    ..Baseline::default()
                },
                periods: periods.into_iter().map(str::to_owned).collect(),
            };
            for (place, plan) in plans.iter().enumerate() {
                build(&mut world, ids, place, plan);
            }
            if !expects {
                world.expected = None;
            }
            if ids == Ids::Mixed {
                // PostgreSQL joins no text with integers, so such queries have no view.
                world.routed = Routed::Nobody;
            }
            Case { world, ids, chunk_charges, scale, shuffle }
        },
    )
}

/// The charge as it should be, and then the faults.
fn build(world: &mut World, ids: Ids, place: usize, plan: &Plan) {
    let id = ids.name(place);
    let mut charge = Charge {
        id: id.clone(),
        period: PERIODS[plan.period].to_owned(),
        currency: CURRENCIES[plan.currency].to_owned(),
        amount: plan.amount,
        reverses: None,
    };
    let mut payers = plan.payers.clone();
    let charged = world.charges.iter().filter(|charge| charge.reverses.is_none()).count();
    if let (Some((index, eighths)), true) = (&plan.refund, charged > 0) {
        let originals: Vec<&Charge> = world.charges.iter().filter(|charge| charge.reverses.is_none()).collect();
        let original = originals[index.index(charged)];
        let amount = -i128::from(original.amount) * i128::from(*eighths) / 8;
        charge.amount = i64::try_from(amount.clamp(-(1 << 62) + 1, (1 << 62) - 1)).unwrap();
        charge.currency.clone_from(&original.currency);
        charge.reverses = Some(original.id.clone());
        // In the order in which the original's parts were written, so that they are divided alike.
        payers = world
            .new_of(&original.id)
            .iter()
            .filter_map(|row| (0..PAYERS).find(|payer| row.payer.as_ref() == Some(&ids.name(*payer))))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if payers.is_empty() {
            payers = plan.payers.clone();
        }
    }
    let shares = vec![Share { weight: 1, first: false }; payers.len()];
    for (payer, amount) in payers.iter().zip(split(charge.amount, &shares).unwrap()) {
        let payer = Some(ids.name(*payer));
        world.new.push(Row {
            charge: id.clone(),
            payer: payer.clone(),
            amount,
            currency: Some(charge.currency.clone()),
        });
        world.expected.as_mut().unwrap().push((id.clone(), payer));
    }
    world.old.push(Row {
        charge: id.clone(),
        payer: Some(ids.name(plan.old_payer)),
        amount: charge.amount,
        currency: None,
    });
    if let Some(group) = plan.group {
        world.groups.push((id, GROUPS[group].to_owned()));
    }
    world.charges.push(charge);
    record(world, &ids.name(place));
    for fault in &plan.faults {
        plant(world, ids, place, fault);
    }
}

/// What closing the charge's period keeps of it.
fn record(world: &mut World, id: &str) {
    let period = world.charges.iter().find(|charge| charge.id == id).map(|charge| charge.period.clone());
    let Some(has_new) = period.and_then(|period| world.baseline.periods.get(&period).copied()) else { return };
    let (old, new) = (world.old_of(id), world.new_of(id));
    let (old, new): (Vec<Row>, Vec<Row>) = (old.into_iter().cloned().collect(), new.into_iter().cloned().collect());
    world.baseline.old.extend(old);
    if has_new {
        world.baseline.new.extend(new);
    }
}

fn plant(world: &mut World, ids: Ids, place: usize, fault: &Fault) {
    let id = ids.name(place);
    let World { charges, old, new, expected, groups, .. } = world;
    let mut its: Vec<&mut Row> = new.iter_mut().filter(|row| row.charge == id).collect();
    let row = |payer: usize, amount: i64, currency: Option<String>| Row {
        charge: id.clone(),
        payer: Some(ids.name(payer)),
        amount,
        currency,
    };
    let currency = charges.iter().find(|charge| charge.id == id).map(|charge| charge.currency.clone());
    let count = its.len();
    match fault {
        Fault::NoCharge => charges.retain(|charge| charge.id != id),
        Fault::DropOld => old.retain(|row| row.charge != id),
        Fault::AddNew(payer, amount) => new.push(row(*payer, *amount, currency)),
        Fault::AddOld(payer, amount) => old.push(row(*payer, *amount, None)),
        Fault::NobodyOld => old.iter_mut().filter(|row| row.charge == id).for_each(|row| row.payer = None),
        Fault::BumpOld(delta) => {
            old.iter_mut().filter(|row| row.charge == id).for_each(|row| row.amount = bounded(row.amount, *delta));
        }
        Fault::Expect(payer) => expected.as_mut().unwrap().push((id.clone(), payer.map(|payer| ids.name(payer)))),
        Fault::DoNotExpect(index) => {
            let expected = expected.as_mut().unwrap();
            if !expected.is_empty() {
                expected.remove(index.index(expected.len()));
            }
        }
        Fault::Reverses(other) => {
            charges
                .iter_mut()
                .filter(|charge| charge.id == id)
                .for_each(|charge| charge.reverses = Some(ids.name(*other)));
        }
        Fault::Period(period) => {
            charges
                .iter_mut()
                .filter(|charge| charge.id == id)
                .for_each(|charge| charge.period = PERIODS[*period].to_owned());
        }
        Fault::NothingLeft => {
            charges.retain(|charge| charge.id != id);
            old.retain(|row| row.charge != id);
            new.retain(|row| row.charge != id);
        }
        Fault::OldIsNew => {
            let rows: Vec<Row> = its.iter().map(|row| Row { currency: None, ..(**row).clone() }).collect();
            old.retain(|row| row.charge != id);
            old.extend(rows);
        }
        Fault::GroupTwice => {
            let again = groups.iter().find(|(charge, _)| *charge == id).cloned();
            groups.extend(again);
        }
        _ if count == 0 => {}
        Fault::DropNew(index) => {
            let dropped = its[index.index(count)].clone();
            let at = new.iter().position(|row| *row == dropped).unwrap();
            new.remove(at);
        }
        Fault::Nobody(index) => its[index.index(count)].payer = None,
        Fault::Currency(index, currency) => {
            its[index.index(count)].currency = currency.map(|currency| CURRENCIES[currency].to_owned());
        }
        Fault::Bump(index, delta) => its[index.index(count)].amount = bounded(its[index.index(count)].amount, *delta),
        Fault::Shift(delta) => {
            its[0].amount = bounded(its[0].amount, *delta);
            its[count - 1].amount = bounded(its[count - 1].amount, -delta);
        }
        Fault::Payer(index, payer) => its[index.index(count)].payer = Some(ids.name(*payer)),
    }
}

/// What both databases take: at most 62 bits.
fn bounded(amount: i64, delta: i64) -> i64 {
    (amount + delta).clamp(-(1 << 62) + 1, (1 << 62) - 1)
}
