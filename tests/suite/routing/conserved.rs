//! Whatever mix of sides, moves, releases and refunds: each period's effective allocation adds up to its charges, to the unit.

use changeover::change::Stage;
use changeover::routing::{self, Side};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::fixture::{FILE, Fixture, pilot_of, rollout_of};
use crate::support::each_database;

const PERIODS: [&str; 3] = ["2026-11", "2026-12", "2027-01"];

#[derive(Debug, Clone)]
enum Step {
    Charge { account: Option<u8>, period: usize, yen: bool, amount: i64, members: u8 },
    Refund { of: usize, period: usize },
    Assign { period: usize, buckets: u32 },
    AssignPilot { period: usize, user: u8 },
    Ask { user: u8, period: usize, buckets: u32 },
    Move { account: u8, period: usize, side: Side },
    Release,
    Close { period: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (period, account, user) = (0..PERIODS.len(), 1..5u8, 1..10u8);
    let side = prop_oneof![Just(Side::Old), Just(Side::New)];
    let amount = prop_oneof![Just(0), -5..5i64, -1_000_000_000..1_000_000_000i64];
    prop_oneof![
        6 => (prop::option::weighted(0.9, account.clone()), period.clone(), any::<bool>(), amount, 1..5u8)
            .prop_map(|(account, period, yen, amount, members)| Step::Charge { account, period, yen, amount, members }),
        2 => (any::<prop::sample::Index>(), period.clone()).prop_map(|(of, period)| Step::Refund { of: of.index(1000), period }),
        2 => (period.clone(), 0..=100_000u32).prop_map(|(period, buckets)| Step::Assign { period, buckets }),
        1 => (period.clone(), user.clone()).prop_map(|(period, user)| Step::AssignPilot { period, user }),
        3 => (user, period.clone(), 0..=100_000u32).prop_map(|(user, period, buckets)| Step::Ask { user, period, buckets }),
        2 => (account, period.clone(), side).prop_map(|(account, period, side)| Step::Move { account, period, side }),
        1 => Just(Step::Release),
        1 => period.prop_map(|period| Step::Close { period }),
    ]
}

/// A charge that was written: id, account, currency, amount, members.
type Written = (usize, Option<u8>, &'static str, i64, u8);

fn write_charge(
    fixture: &Fixture,
    charges: &mut Vec<Written>,
    charge: Written,
    (period, reverses): (&str, Option<usize>),
) {
    let (id, account, currency, amount, members) = charge;
    let reverses = reverses.map_or_else(|| String::from("NULL"), |id| id.to_string());
    let account = account.map_or_else(|| String::from("NULL"), |account| account.to_string());
    let mut sql = format!(
        "INSERT INTO charges (id, account_id, user_id, period, currency, amount_minor, reverses_id)
             VALUES ({id}, {account}, 1, '{period}', '{currency}', {amount}, {reverses});"
    );
    // An equal division, the remainder to the first: conserving, whatever the sign.
    let each = amount / i64::from(members);
    for member in 1..=members {
        let part = if member == 1 { amount - each * i64::from(members - 1) } else { each };
        sql.push_str(&format!("INSERT INTO charge_allocations VALUES ({id}, {member}, {part});"));
    }
    fixture.run(&sql);
    charges.push(charge);
}

fn apply(fixture: &Fixture, charges: &mut Vec<Written>, step: &Step) {
    match *step {
        Step::Charge { account, period, yen, amount, members } => {
            let charge = (charges.len() + 1, account, if yen { "JPY" } else { "EUR" }, amount, members);
            write_charge(fixture, charges, charge, (PERIODS[period], None));
        }
        Step::Refund { of, period } => {
            if let Some((original, account, currency, amount, members)) =
                charges.get(of % charges.len().max(1)).copied()
            {
                let refund = (charges.len() + 1, account, currency, -amount, members);
                write_charge(fixture, charges, refund, (PERIODS[period], Some(original)));
            }
        }
        // A closed period refuses; that is part of the mix.
        Step::Assign { period, buckets } => drop(fixture.assign(&rollout_of(buckets), PERIODS[period])),
        Step::AssignPilot { period, user } => {
            drop(fixture.assign(&pilot_of(&[&user.to_string()], "old"), PERIODS[period]));
        }
        Step::Ask { user, period, buckets } => {
            let user = user.to_string();
            let question = fixture.question(&user, PERIODS[period]);
            fixture.router().side_of_user(&rollout_of(buckets), &question).unwrap();
        }
        Step::Move { account, period, side } => {
            drop(fixture.move_group(&account.to_string(), PERIODS[period], side));
        }
        Step::Release => {
            fixture.set_stage(Stage::Shadow);
            routing::release(&mut fixture.connection(), &fixture.name, "ann", "back").unwrap();
            fixture.set_stage(Stage::Live);
        }
        Step::Close { period } => fixture.close_before(PERIODS[period]),
    }
}

/// Sums of the charges and of the effective allocation by period and currency, and charges that are not on exactly one side.
fn check(fixture: &Fixture) {
    let totals = |sql: String| -> Vec<String> {
        let rows = fixture.connection().query(&sql, &[]).unwrap();
        rows.iter().map(|row| row.text("total").unwrap()).collect()
    };
    let shape = |amount: &str, from: &str| {
        format!(
            "SELECT period || ' ' || currency || ' ' || CAST(sum({amount}) AS TEXT) AS total FROM {from}
             GROUP BY period, currency ORDER BY period, currency"
        )
    };
    let view = changeover::sql::names::own(fixture.database.dialect(), "effective_allocation");
    let charged = totals(shape("amount_minor", "charges"));
    assert_eq!(totals(shape("amount", &view)), charged);
    let odd = totals(format!(
        "SELECT CAST(c.id AS TEXT) AS total FROM charges c LEFT JOIN
           (SELECT charge_id, count(DISTINCT side) AS sides FROM {view} GROUP BY charge_id) e ON e.charge_id = c.id
         WHERE coalesce(e.sides, 0) <> 1"
    ));
    assert_eq!(odd, Vec::<String>::new(), "charges on both sides or on none");
    let astray = totals(format!(
        "SELECT CAST(r.id AS TEXT) AS total FROM charges r JOIN charges o ON o.id = r.reverses_id
           JOIN {view} e ON e.charge_id = r.id JOIN {view} f ON f.charge_id = o.id
         WHERE o.reverses_id IS NULL AND e.side <> f.side"
    ));
    assert_eq!(astray, Vec::<String>::new(), "refunds on another side than what they reverse");
}

#[test]
fn effective_sums_equal_the_charges_after_every_step() {
    sums_equal_the_charges(FILE);
}

/// A query that SQLite cannot look up by key, and that lists a charge once for each of its payers.
#[test]
fn effective_sums_equal_the_charges_whatever_the_group_query_is() {
    let query = "SELECT DISTINCT c.id AS charge_id, c.account_id AS group_id FROM charges c JOIN charge_allocations a ON a.charge_id = c.id";
    sums_equal_the_charges(&FILE.replace("SELECT id AS charge_id, account_id AS group_id FROM charges;", query));
    let query =
        "SELECT charge_id, account_id AS group_id FROM charge_allocations a JOIN charges c ON c.id = a.charge_id";
    sums_equal_the_charges(&FILE.replace("SELECT id AS charge_id, account_id AS group_id FROM charges;", query));
}

fn sums_equal_the_charges(file: &str) {
    each_database(|database| {
        let fixture = Fixture::with(database, "bigint", file);
        fixture.run("INSERT INTO memberships VALUES (1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 6), (4, 7)");
        let mut runner =
            TestRunner::new(Config { cases: 8, max_shrink_iters: 60, failure_persistence: None, ..Config::default() });
        let charges = std::cell::RefCell::new(Vec::new());
        runner
            .run(&prop::collection::vec(step(), 1..25), |steps| {
                // Histories follow one another in one database: what one leaves behind is the next one's beginning.
                for step in &steps {
                    apply(&fixture, &mut charges.borrow_mut(), step);
                    check(&fixture);
                }
                fixture.close_before("");
                Ok(())
            })
            .unwrap();
    });
}
