//! What must be true of every comparison, whatever is compared: the database says what the model says, chunk by chunk or at once, and
//! sums are conserved.
//!
//! Conservation, exactly: a charge that is there and in none of the classes `orphan`, `unallocated`, `currency`, `duplicate` and `not_conserved` has
//! old parts that add up to its amount and new parts that add up to its amount. The four classes before `not_conserved` name a more basic
//! fault first; a charge in them may or may not be conserved.

use std::collections::BTreeMap;

use changeover::allocation::{ChargeClass, Comparison, ExceptionLine, Minor};
use changeover::change::{Allocation, Located};
use changeover::database::DatabaseConnection;
use changeover::primitives::{ChangeName, Dialect};
use changeover::sql::names::{literal, own};
use changeover::sql::{assignment, effective};
use changeover::translation::compare::{CompareError, CompareRequest, CompareWatcher, Compared, compare};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::model::{Expected, Routed, World};
use super::worlds::{Case, Ids, any_case, clean_case};
use crate::support::{Random, TestDatabase, each_database, full_length};

pub const CHANGE: &str = "proofs";

/// No type says more than what the queries cast to.
const SCHEMA: &str = "
    CREATE TABLE charges (id TEXT, period TEXT, currency TEXT, amount BIGINT, reverses_id TEXT);
    CREATE TABLE old_parts (charge_id TEXT, payer TEXT, amount BIGINT);
    CREATE TABLE new_parts (charge_id TEXT, payer TEXT, amount BIGINT, currency TEXT);
    CREATE TABLE members (charge_id TEXT, payer TEXT);
    CREATE TABLE charge_groups (charge_id TEXT, group_id TEXT)";

fn located(value: String) -> Located<String> {
    Located { value, line: 1 }
}

/// The change file's queries for a world.
pub fn allocation(dialect: Dialect, case: &Case) -> Allocation {
    let typed = |column: &str, ids: Ids| match (ids, dialect) {
        (Ids::Text | Ids::Mixed, _) | (Ids::Uuid, Dialect::Sqlite) => column.to_owned(),
        (Ids::Integer, _) => format!("CAST({column} AS BIGINT)"),
        (Ids::Uuid, Dialect::Postgres) => format!("CAST({column} AS UUID)"),
    };
    let id = |column: &str| typed(column, case.ids);
    // With mixed ids, the charges have integers and everything else has text.
    let first_id = if case.ids == Ids::Mixed { typed("id", Ids::Integer) } else { id("id") };
    let scale = case.scale.filter(|_| dialect == Dialect::Postgres);
    let amount = amount_text(dialect, case, "amount");
    let text = |text: String| located(text);
    let (charge, payer) = (id("charge_id"), id("payer"));
    Allocation {
        line: 1,
        charges: text(format!("SELECT {first_id} AS charge_id, period, currency, {amount} AS amount FROM charges")),
        old: text(format!("SELECT {charge} AS charge_id, {payer} AS payer, {amount} AS amount FROM old_parts")),
        new: text(format!(
            "SELECT {charge} AS charge_id, {payer} AS payer, {amount} AS amount, currency FROM new_parts"
        )),
        group: text(format!("SELECT {charge} AS charge_id, group_id FROM charge_groups")),
        expected_payers: case
            .world
            .expected
            .is_some()
            .then(|| text(format!("SELECT {charge} AS charge_id, {payer} AS payer FROM members"))),
        reverses: case.world.has_refunds.then(|| {
            text(format!(
                "SELECT {first_id} AS charge_id, {} AS reverses_id FROM charges WHERE reverses_id IS NOT NULL",
                id("reverses_id")
            ))
        }),
        exponent: None,
        scale: scale.map(u16::from),
    }
}

/// An amount, in units, as the change file's queries return it.
fn amount_text(dialect: Dialect, case: &Case, amount: impl std::fmt::Display) -> String {
    match case.scale.filter(|_| dialect == Dialect::Postgres) {
        None => amount.to_string(),
        Some(scale) => format!("CAST({amount} AS NUMERIC) * 0.{:0>width$}", 1, width = usize::from(scale)),
    }
}

/// Tables and an installation without triggers.
pub fn prepared(database: &TestDatabase) -> DatabaseConnection {
    let mut connection = database.connection();
    connection.batch(SCHEMA).unwrap();
    if database.dialect() == Dialect::Postgres {
        connection.batch("CREATE SCHEMA changeover").unwrap();
    }
    let own_tables = changeover::translation::own::create_tables(database.dialect());
    for statement in own_tables.iter().chain(&assignment::create(database.dialect())) {
        connection.batch(statement).unwrap();
    }
    connection
}

fn quoted(text: Option<&String>) -> String {
    text.map_or_else(|| String::from("NULL"), |text| literal(text))
}

/// The rows of an INSERT in any order.
fn insert(table: &str, mut rows: Vec<String>, random: &mut Random) -> String {
    if rows.is_empty() {
        return String::new();
    }
    for place in (1..rows.len()).rev() {
        rows.swap(place, random.index(place + 1));
    }
    format!("INSERT INTO {table} VALUES {};\n", rows.join(", "))
}

/// Puts a world where another one was.
pub fn store(connection: &mut DatabaseConnection, case: &Case, allocation: &Allocation) {
    let dialect = connection.dialect();
    let (world, mut random) = (&case.world, Random::new(case.shuffle));
    for statement in effective::drop(dialect) {
        connection.batch(&statement).unwrap();
    }
    let recorded = own(dialect, "assignment");
    let (periods, parts) = (own(dialect, "closed_period"), own(dialect, "closed_allocation"));
    let tables = ["charges", "old_parts", "new_parts", "members", "charge_groups", recorded.as_str(), &periods, &parts];
    let mut sql: String = tables.map(|table| format!("DELETE FROM {table};\n")).concat();
    let charges = world.charges.iter().map(|charge| {
        let texts = [&charge.id, &charge.period, &charge.currency].map(|text| literal(text)).join(", ");
        format!("({texts}, {}, {})", charge.amount, quoted(charge.reverses.as_ref()))
    });
    let old = world.old.iter().map(|r| format!("({}, {}, {})", literal(&r.charge), quoted(r.payer.as_ref()), r.amount));
    let new = world.new.iter().map(|r| {
        let currency = quoted(r.currency.as_ref());
        format!("({}, {}, {}, {currency})", literal(&r.charge), quoted(r.payer.as_ref()), r.amount)
    });
    let expected = world.expected.iter().flatten();
    let expected = expected.map(|(charge, payer)| format!("({}, {})", literal(charge), quoted(payer.as_ref())));
    let groups = world.groups.iter().map(|(charge, group)| format!("({}, {})", literal(charge), literal(group)));
    let assignments = world.recorded_new.iter().map(|(period, group)| {
        format!("('{CHANGE}', {}, {}, 'new', 0, 'test', '', 1)", literal(period), literal(group))
    });
    sql.push_str(&insert("charges", charges.collect(), &mut random));
    sql.push_str(&insert("old_parts", old.collect(), &mut random));
    sql.push_str(&insert("new_parts", new.collect(), &mut random));
    sql.push_str(&insert("members", expected.collect(), &mut random));
    sql.push_str(&insert("charge_groups", groups.collect(), &mut random));
    let closed =
        world.baseline.periods.iter().map(|(period, has_new)| {
            format!("('{CHANGE}', {}, {}, 0, 0, 'test')", literal(period), i32::from(*has_new))
        });
    sql.push_str(&insert(
        &format!("{periods} (change, period, has_new, charges, at, actor)"),
        closed.collect(),
        &mut random,
    ));
    let columns = format!("{parts} (change, charge_id, model, payer, amount)");
    for (model, rows) in [("old", &world.baseline.old), ("new", &world.baseline.new)] {
        let kept = rows.iter().map(|r| {
            let amount = amount_text(dialect, case, r.amount);
            format!("('{CHANGE}', {}, '{model}', {}, {amount})", literal(&r.charge), quoted(r.payer.as_ref()))
        });
        sql.push_str(&insert(&columns, kept.collect(), &mut random));
    }
    let columns = format!("{recorded} (change, period, group_id, side, at, actor, reason, flag_version)");
    sql.push_str(&insert(&columns, assignments.collect(), &mut random));
    connection.batch(&sql).unwrap();
    let change = ChangeName::new(CHANGE).unwrap();
    let view = match &world.routed {
        Routed::Nobody => Vec::new(),
        Routed::AsRecorded => effective::create(dialect, &change, allocation),
        Routed::CompleteFrom(period) => effective::create_complete(dialect, &change, allocation, period),
    };
    for statement in view {
        connection.batch(&statement).unwrap();
    }
}

/// Keeps every exception that is told.
#[derive(Default)]
struct Listening(Vec<ExceptionLine>);

impl CompareWatcher for Listening {
    fn exceptions(&mut self, lines: Vec<ExceptionLine>) -> Result<(), CompareError> {
        self.0.extend(lines);
        Ok(())
    }
}

/// Compares, asking for every charge by its id.
fn compared(
    connection: &mut DatabaseConnection,
    case: &Case,
    allocation: &Allocation,
    chunk_charges: u64,
) -> Result<(Comparison, Vec<ExceptionLine>), CompareError> {
    let (world, change) = (&case.world, ChangeName::new(CHANGE).unwrap());
    let ids: Vec<String> =
        world.charges.iter().map(|charge| &charge.id).chain(world.new.iter().map(|row| &row.charge)).cloned().collect();
    let request = CompareRequest {
        periods: &world.periods,
        closed_before: world.closed_before.as_deref(),
        closed_of: Some(&change),
        exceptions_max: 1000,
        movers_max: 1000,
        asked_charges: &ids,
        chunk_charges,
        ..CompareRequest::of(allocation)
    };
    let mut told = Listening::default();
    match compare(connection, &request, &mut told)? {
        Compared::Finished(comparison) => Ok((*comparison, told.0)),
        Compared::Stopped => unreachable!("nobody stops it"),
    }
}

/// All errors of a chain in one line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn check(connection: &mut DatabaseConnection, case: &Case) -> Result<(), TestCaseError> {
    let allocation = allocation(connection.dialect(), case);
    store(connection, case, &allocation);
    let is_exact = connection.dialect() == Dialect::Postgres;
    let answers =
        match (compared(connection, case, &allocation, 0), compared(connection, case, &allocation, case.chunk_charges))
        {
            (Ok(at_once), Ok(in_chunks)) => (at_once, in_chunks),
            (Err(error), _) | (_, Err(error)) => {
                let said = chain(&error);
                let is_refusal = ["overflow", "out of range"].iter().any(|word| said.contains(word));
                let may = case.world.may_overflow(!is_exact);
                return if is_refusal && may { Ok(()) } else { Err(TestCaseError::fail(format!("refused: {said}"))) };
            }
        };
    let ((comparison, told), (in_chunks, _)) = answers;
    if comparison != in_chunks {
        return Err(TestCaseError::fail(format!("in chunks: {in_chunks:#?}\nat once: {comparison:#?}")));
    }
    let expected = case.world.expect();
    agrees(&comparison, &expected).map_err(TestCaseError::fail)?;
    exceptions_agree(&case.world, &expected, &comparison.exceptions).map_err(TestCaseError::fail)?;
    exceptions_agree(&case.world, &expected, &told).map_err(TestCaseError::fail)?;
    conserves(&case.world, &expected, &comparison).map_err(TestCaseError::fail)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: the database says {found:#?}\nthe model {expected:#?}"))
    }
}

fn agrees(comparison: &Comparison, expected: &Expected) -> Result<(), String> {
    let asked: BTreeMap<String, ChargeClass> =
        comparison.asked.iter().map(|asked| (asked.charge_id.clone(), asked.class)).collect();
    same("charges told once", &asked.len(), &comparison.asked.len())?;
    // What has no charge was asked for only if the new model allocates it.
    let has_charge = |class: ChargeClass| ![ChargeClass::Orphan, ChargeClass::FrozenChanged].contains(&class);
    for (id, class) in &expected.class_of {
        if has_charge(*class) || asked.contains_key(id) {
            same(&format!("class of {id:?}"), &asked.get(id), &Some(class))?;
        }
    }
    same("classes", &comparison.classes, &expected.classes)?;
    same("totals", &comparison.totals, &expected.totals)?;
    same("payers", &comparison.payers, &expected.payers)?;
    same("movers", &comparison.movers, &expected.movers)?;
    same("histogram", &comparison.histogram, &expected.histogram)
}

/// Each charge in a wrong class is an exception, no other one is, and its line says what stands in the rows.
fn exceptions_agree(world: &World, expected: &Expected, lines: &[ExceptionLine]) -> Result<(), String> {
    let found: BTreeMap<String, ChargeClass> = lines.iter().map(|line| (line.charge_id.clone(), line.class)).collect();
    let wrong: BTreeMap<String, ChargeClass> = expected
        .class_of
        .iter()
        .filter(|(_, class)| class.is_wrong())
        .map(|(id, class)| (id.clone(), *class))
        .collect();
    same("exceptions", &found, &wrong)?;
    same("exceptions told once", &lines.len(), &wrong.len())?;
    for line in lines {
        let sum = |rows: &[&super::model::Row]| -> Minor { rows.iter().map(|row| Minor::new(row.amount.into())).sum() };
        let (old, new) = (world.old_of(&line.charge_id), world.new_of(&line.charge_id));
        same("old amount", &line.old_amount, &sum(&old))?;
        same("new amount", &line.new_amount, &sum(&new))?;
        same("parts' old", &line.parts.iter().map(|part| part.old).sum(), &sum(&old))?;
        same("parts' new", &line.parts.iter().map(|part| part.new).sum(), &sum(&new))?;
        same("parts", &(line.parts.len() as u64), &line.parts_total)?;
    }
    Ok(())
}

/// What must hold without any model.
fn conserves(world: &World, expected: &Expected, comparison: &Comparison) -> Result<(), String> {
    use ChargeClass::{Currency, Duplicate, FrozenChanged, NotConserved, Orphan, Unallocated};
    let classed: u64 = comparison.classes.iter().map(|total| total.charges).sum();
    let has_charge = |id: &str| world.charges.iter().any(|charge| charge.id == id);
    let without = expected.class_of.keys().filter(|id| !has_charge(id)).count() as u64;
    same("charges in classes", &classed, &(comparison.charges() + without))?;
    for (id, class) in &expected.class_of {
        let is_gone = *class == FrozenChanged && !has_charge(id);
        if is_gone || [Orphan, Unallocated, Currency, Duplicate, NotConserved].contains(class) {
            continue;
        }
        let sum = |rows: &[&super::model::Row]| rows.iter().map(|row| i128::from(row.amount)).sum::<i128>();
        let charge = world.charges.iter().find(|charge| charge.id == *id).ok_or("a class without a charge")?;
        same("old sum", &sum(&world.old_of(id)), &charge.amount.into())?;
        same("new sum", &sum(&world.new_of(id)), &charge.amount.into())?;
    }
    for total in &comparison.payers {
        same("payers", &(total.old - total.moved_out + total.moved_in), &total.new)?;
    }
    Ok(())
}

/// Runs a property with a fixed seed, so that it does the same each time and everywhere.
pub fn for_all(
    cases: u64,
    strategy: &impl proptest::strategy::Strategy<Value = Case>,
    property: impl Fn(&mut DatabaseConnection, &Case) -> Result<(), TestCaseError>,
) {
    each_database(|database| {
        let connection = std::cell::RefCell::new(prepared(&database));
        let config = Config {
            cases: u32::try_from(cases).unwrap(),
            max_shrink_iters: 400,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        match runner.run(strategy, |case| property(&mut connection.borrow_mut(), &case)) {
            Ok(()) => {}
            Err(TestError::Fail(reason, case)) => panic!("{reason}\nthe smallest such world: {case:#?}"),
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn the_database_says_what_the_model_says() {
    for_all(full_length(5_000, 200), &any_case(), check);
}

/// sum(effective) = sum(charges) in every period and currency, whatever the mix of sides, refunds and closed periods; and nothing is found.
#[test]
fn where_nothing_is_wrong_every_sum_is_the_charges() {
    for_all(full_length(2_000, 80), &clean_case(), |connection, case| {
        check(connection, case)?;
        let allocation = allocation(connection.dialect(), case);
        let Ok((comparison, _)) = compared(connection, case, &allocation, 0) else { return Ok(()) };
        for total in &comparison.totals {
            same("sides", &total.is_exact(), &true).map_err(TestCaseError::fail)?;
        }
        let wrong = comparison.exceptions.iter().filter(|line| line.class != ChargeClass::UnexpectedPayer);
        same("findings", &wrong.collect::<Vec<_>>(), &Vec::new()).map_err(TestCaseError::fail)
    });
}
