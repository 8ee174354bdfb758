//! Random schemas, random blocks, random histories: after each statement the target of each block holds what the block's query returns
//! over the whole source, evaluated here and divided here, not by verify. A case that fails is made smaller and printed whole.

mod case;
mod generate;

use changeover::database::Dialect;

use crate::support::full_length;

#[test]
fn incremental_translation_equals_evaluation_from_scratch_on_sqlite() {
    many(Dialect::Sqlite);
}

#[test]
fn incremental_translation_equals_evaluation_from_scratch_on_postgres() {
    many(Dialect::Postgres);
}

fn many(dialect: Dialect) {
    // One seed, to look at a failure again.
    let only: Option<u64> = std::env::var("CHANGEOVER_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = only.map_or(1..=full_length(300, 12), |seed| seed..=seed);
    let (mut blocks, mut statements) = (0, 0);
    for seed in seeds.clone() {
        let case = generate::case(seed, dialect);
        blocks += case.blocks.len();
        statements += case.statements.len();
        if let Err(failure) = case.run() {
            let (case, failure) = case.smaller(failure);
            panic!("seed {seed} (CHANGEOVER_TEST_SEED={seed}), {dialect}:\n{failure}\n\n{case}");
        }
    }
    eprintln!("{dialect}: seeds {seeds:?}, {blocks} blocks, {statements} statements");
}
