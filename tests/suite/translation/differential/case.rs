//! One case: a schema, a change, a history; run against a database of its own and compared after each statement.

use std::collections::BTreeMap;
use std::fmt;

use changeover::change::{ChangeFile, Stage};
use changeover::database::{DatabaseConnection, Dialect};
use changeover::translation::check;

use crate::support::TestDatabase;
use crate::translation::fixture::install_file;

#[derive(Clone)]
pub struct Case {
    pub dialect: Dialect,
    pub schema: String,
    pub blocks: Vec<Block>,
    pub statements: Vec<String>,
}

/// A block as the change file has it, and how its rows are computed from scratch.
#[derive(Clone)]
pub struct Block {
    pub text: String,
    pub target: String,
    pub query: String,
    /// The target's mapped columns.
    pub columns: Vec<String>,
    /// Which rows of the target are this block's; empty: all.
    pub owns: String,
    pub split: Option<Split>,
}

/// The query's columns by which a split divides. Keys and amounts are integers here, parties are of the type that they are.
#[derive(Clone)]
pub struct Split {
    pub key: Vec<String>,
    pub party: Vec<String>,
    pub amount: String,
    pub weight: String,
}

type Rows = Vec<Vec<Option<String>>>;

impl Case {
    pub fn file(&self) -> String {
        let blocks: String = self.blocks.iter().map(|block| format!("\n{}", block.text)).collect();
        format!("format = 1\nname = \"case\"\n{blocks}")
    }

    /// What differs, if anything does.
    pub fn run(&self) -> Result<(), String> {
        let database = TestDatabase::new(self.dialect);
        let mut connection = database.connection();
        connection.batch(&self.schema).map_err(|error| format!("schema: {error}"))?;
        let file = ChangeFile::parse(&self.file()).map_err(|mistakes| format!("{mistakes:#?}"))?;
        let checked = check(&mut connection, database.database().url(), &file).map_err(|error| error.to_string())?;
        if !checked.is_clean() {
            return Err(format!("{:#?}", checked.mistakes));
        }
        install_file(&mut connection, &file, Stage::Shadow);
        self.compare(&mut connection).map_err(|failure| format!("after the backfill: {failure}"))?;
        for statement in &self.statements {
            if let Err(error) = connection.batch(statement) {
                drop(connection.batch("ROLLBACK"));
                let text = error.to_string();
                let own = ["duplicate key", "UNIQUE constraint", "foreign key", "FOREIGN KEY"];
                if !own.iter().any(|part| text.contains(part)) || text.contains("n_") || text.contains("changeover") {
                    return Err(format!("{text}\nin {statement}"));
                }
            }
            self.compare(&mut connection).map_err(|failure| format!("after {statement}: {failure}"))?;
        }
        Ok(())
    }

    fn compare(&self, connection: &mut DatabaseConnection) -> Result<(), String> {
        for block in &self.blocks {
            let expected = match &block.split {
                None => block.rows(connection, &format!("({})", block.query), "")?,
                Some(split) => block.divided(connection, split)?,
            };
            let found = block.rows(connection, &block.target, &block.owns)?;
            if expected != found {
                let missing: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
                let extra: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
                return Err(format!(
                    "{} ({:?}): missing {missing:?}, extra {extra:?}, {} rows expected",
                    block.target,
                    block.columns,
                    expected.len()
                ));
            }
        }
        Ok(())
    }

    /// Leaves statements and blocks out for as long as it still fails.
    pub fn smaller(self, failure: String) -> (Self, String) {
        let (mut case, mut failure) = (self, failure);
        for position in (0..case.statements.len()).rev() {
            let mut without = case.clone();
            without.statements.remove(position);
            if let Err(still) = without.run() {
                (case, failure) = (without, still);
            }
        }
        for position in (0..case.blocks.len()).rev() {
            let mut without = case.clone();
            without.blocks.remove(position);
            if without.blocks.is_empty() {
                continue;
            }
            // Another block may read what this one fills: then it is another failure.
            match without.run() {
                Err(still) if still.split(':').next() == failure.split(':').next() => {
                    (case, failure) = (without, still)
                }
                _ => {}
            }
        }
        (case, failure)
    }
}

/// Who a part goes to, the amount and the weight.
type Party = (Vec<String>, i128, i128);

impl Block {
    fn rows(&self, connection: &mut DatabaseConnection, from: &str, condition: &str) -> Result<Rows, String> {
        let list: Vec<String> =
            self.columns.iter().map(|column| format!("CAST(q.{column} AS text) AS {column}")).collect();
        let condition = if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") };
        texts(connection, &format!("SELECT {} FROM {from} q{condition}", list.join(", ")))
    }

    /// Largest remainder, written once more: ⌊amount × weight ÷ total⌋ each, the units that are left to the largest remainders, ties in
    /// the order of parties.
    fn divided(&self, connection: &mut DatabaseConnection, split: &Split) -> Result<Rows, String> {
        let keys = split.key.iter().chain(&split.party).map(|column| format!("CAST(q.{column} AS text) AS {column}"));
        let numbers = [&split.amount, &split.weight].map(|column| format!("CAST(q.{column} AS text) AS {column}"));
        let list: Vec<String> = keys.chain(numbers).collect();
        let ordered: Vec<String> = split.party.iter().map(|column| format!("q.{column}")).collect();
        let sql = format!("SELECT {} FROM ({}) q ORDER BY {}", list.join(", "), self.query, ordered.join(", "));
        let rows = connection.query(&sql, &[]).map_err(|error| format!("{error}\n{sql}"))?;
        let mut groups: BTreeMap<Vec<String>, Vec<Party>> = BTreeMap::new();
        for row in &rows {
            let texts = |names: &[String]| names.iter().map(|name| row.text(name).unwrap()).collect::<Vec<_>>();
            let number = |name: &str| row.text(name).unwrap().parse::<i128>().unwrap();
            let part = (texts(&split.party), number(&split.amount), number(&split.weight));
            groups.entry(texts(&split.key)).or_default().push(part);
        }
        let mut all = Rows::new();
        for (key, mut parties) in groups {
            if parties.iter().all(|(_, _, weight)| *weight == 0) {
                parties.iter_mut().for_each(|(_, _, weight)| *weight = 1);
            }
            let total: i128 = parties.iter().map(|(_, _, weight)| weight).sum();
            let mut parts: Vec<i128> =
                parties.iter().map(|(_, amount, weight)| amount.abs() * weight / total).collect();
            let mut order: Vec<usize> = (0..parties.len()).collect();
            order.sort_by_key(|at| std::cmp::Reverse(parties[*at].1.abs() * parties[*at].2 % total));
            let left = parties[0].1.abs() - parts.iter().sum::<i128>();
            order.iter().take(left as usize).for_each(|at| parts[*at] += 1);
            for ((party, amount, _), part) in parties.iter().zip(parts) {
                let values = key.iter().chain(party).cloned().chain([(part * amount.signum()).to_string()]);
                all.push(values.map(Some).collect());
            }
        }
        all.sort();
        Ok(all)
    }
}

fn texts(connection: &mut DatabaseConnection, sql: &str) -> Result<Rows, String> {
    let rows = connection.query(sql, &[]).map_err(|error| format!("{error}\n{sql}"))?;
    let mut texts: Rows =
        rows.iter().map(|row| row.columns().iter().map(|(_, value)| value.to_text()).collect()).collect();
    texts.sort();
    Ok(texts)
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "── schema\n{}\n── change file\n{}\n── statements", self.schema, self.file())?;
        self.statements.iter().try_for_each(|statement| writeln!(f, "{statement};"))
    }
}
