//! The change file: what one may contain, parsed from TOML and validated as far as that is possible without a database
//! (by `parse`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::stage::Stage;
use crate::primitives::{ChangeName, FlagKey, PeriodScheme};

/// A value and the line of the change file (from 1) on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    pub line: usize,
}

/// A validated change file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFile {
    pub name: ChangeName,
    pub title: String,
    pub routing: Routing,
    /// Forward blocks in the order of the file, then backward blocks in the order of the file.
    pub blocks: Vec<Block>,
    pub allocation: Option<Allocation>,
    /// What becomes of a write that cannot be translated; `None`: as the stage says.
    pub on_error: Option<OnError>,
    /// What TRUNCATE of a source table does, unless a block says otherwise. Default: it is refused.
    pub truncate: Option<Truncate>,
    pub stages: Stages,
    /// The text that all this was read from.
    pub text: String,
}

impl ChangeFile {
    /// False for a file without `[routing]`: a change that only moves rows.
    #[must_use]
    pub fn is_routed(&self) -> bool {
        self.routing.line > 0
    }
}

/// Which way a block translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// old → new
    Forward,
    /// new → old
    Backward,
}

impl Direction {
    /// `forward` or `backward`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }

    /// The way back.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Forward => Self::Backward,
            Self::Backward => Self::Forward,
        }
    }
}

/// Names a block in messages, tables and object names: `f1`, `f2`, … for forward and `b1`, … for backward blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    pub direction: Direction,
    /// From 1, in the order of the file.
    pub number: usize,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.direction {
            Direction::Forward => 'f',
            Direction::Backward => 'b',
        };
        write!(f, "{letter}{}", self.number)
    }
}

/// One `[[forward]]` or `[[backward]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub id: BlockId,
    /// The line of the block's header.
    pub line: usize,
    /// Target table, as written: `accounts` or `billing.accounts`.
    pub into: Located<String>,
    /// Driving table, as written.
    pub from: Located<String>,
    /// Which columns of the target hold the driving table's key.
    pub key: Located<Key>,
    /// Columns that identify a row of the target; empty: the target's primary key.
    pub identity: Located<Vec<String>>,
    /// SQL condition over the target's own columns: the rows that this block may change or delete. Default: all with the key.
    pub owns: Option<Located<String>>,
    pub source: Query,
    pub follows: Vec<Follow>,
    /// Tables that the query reads and whose changes shall not touch existing rows.
    pub constant: Vec<Located<String>>,
    pub split: Option<Split>,
    /// Query for keys that are left alone by `follows`; may use `:open_period`.
    pub frozen: Option<Located<String>>,
    /// What becomes of a write that this block cannot translate; `None`: as the file or the stage says.
    pub on_error: Option<OnError>,
    /// What TRUNCATE of a table that the block reads does, if the block says.
    pub truncate: Option<Truncate>,
    /// Backward blocks only.
    pub backward: Backward,
    /// What this block cannot carry over, by target column.
    pub loss: Vec<Loss>,
}

/// A declared loss: a column of the target in which the other model's knowledge is lost, and what stands there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub line: usize,
    /// A column of the target, as written.
    pub column: String,
    pub reason: String,
}

/// `[stages]`: what the gates ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stages {
    /// The roles that must have signed the report by which `live` is entered; empty: any one.
    pub sign_off: Vec<String>,
    /// What applications must have observed before `live` is entered; `None`: it is not asked for.
    pub observations: Option<ObservationGate>,
    /// Hours without a write that needed translation before `complete` may be entered.
    pub quiet_hours: i64,
}

/// What observations of old and new results must come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservationGate {
    /// Mismatches of a million that are tolerated.
    pub max_mismatch_millionths: i64,
    pub min_compared: i64,
    pub over_hours: i64,
}

impl Block {
    /// How messages call the block: `f4 (charge_allocations)`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} ({})", self.id, self.into.value)
    }
}

/// What becomes of a write whose translation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The write succeeds; the keys concerned wait in the pending queue.
    Queue,
    /// The write fails with translation's error.
    Fail,
}

impl OnError {
    /// What a stage does where the change file says nothing: while the old model has the authority it must not suffer for the new one.
    #[must_use]
    pub fn by_default(stage: Stage) -> Self {
        match stage {
            Stage::Off | Stage::DualWrite | Stage::Shadow => Self::Queue,
            Stage::Live | Stage::RampDown | Stage::Complete => Self::Fail,
        }
    }
}

/// What TRUNCATE of a source table does. SQLite has none: its DELETE without WHERE fires row triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncate {
    /// It fails, with a message.
    #[default]
    Refuse,
    /// It removes what the block owns, as deleting every row would.
    Propagate,
}

/// The columns that tie rows of the target to rows of the driving table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Target columns that hold the driving table's own key (its primary key, or a unique index over NOT NULL columns), in its order.
    Own(Vec<String>),
    /// (target column, driving column): keyed by columns of the driving table that need not be unique.
    By(Vec<(String, String)>),
}

impl Key {
    /// The target's columns, as written.
    #[must_use]
    pub fn target_columns(&self) -> Vec<&str> {
        match self {
            Self::Own(columns) => columns.iter().map(String::as_str).collect(),
            Self::By(pairs) => pairs.iter().map(|(target, _)| target.as_str()).collect(),
        }
    }
}

/// What only backward blocks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backward {
    /// False: rows of the target are only updated, never inserted or deleted.
    pub insert: bool,
}

/// Where the rows of a block come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// `columns = { target = "expression over the driving table" }`: target column → SQL expression, in the order of the file.
    Columns(Columns),
    /// `query = "SELECT …"`.
    Select(Located<String>),
}

/// The short form of a query over the driving table alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    pub line: usize,
    pub pairs: Vec<(String, String)>,
    /// The line of each pair.
    pub lines: Vec<usize>,
}

/// A table that a block's query reads besides its driving table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    pub line: usize,
    pub table: Located<String>,
    /// The column of `table` through which the query reads it.
    pub by: Located<String>,
    /// Which driving keys a change of `table` touches; reads `changed` (rows of `table`).
    pub keys: Located<String>,
    /// Which values of `by` driving rows look up; reads `changed` (driving rows). Without it the whole table is locked.
    pub reads: Option<Located<String>>,
}

/// How one row's amount is divided over a key's rows. `amount`, `by` and `first` name result columns of the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    pub line: usize,
    /// The amount to be divided, in integer minor units (or NUMERIC with `scale`): the same on every row of a key.
    pub amount: String,
    /// Integer weights ≥ 0. If all of a key's weights are 0, its rows weigh the same.
    pub by: String,
    /// A boolean: the rows that come first when remainders tie.
    pub first: Option<String>,
    /// PostgreSQL: decimals of the amounts, which are NUMERIC.
    pub scale: Option<u16>,
    /// A column of the driving table: the key of the row that this one reverses, a refund's charge.
    pub reverses: Option<Located<String>>,
}

/// `[routing]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// 0: the file has none.
    pub line: usize,
    /// The flag that decides; its variants are `old` and `new`.
    pub flag: FlagKey,
    /// How the change counts its periods.
    pub period: PeriodScheme,
    /// Query with the parameter `:user` that returns the user's group.
    pub group_of_user: Option<Located<String>>,
}

/// `[allocation]`: queries over the application's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    pub line: usize,
    /// charge_id, period, currency, amount
    pub charges: Located<String>,
    /// charge_id, payer, amount
    pub old: Located<String>,
    /// charge_id, payer, amount (and currency, if it could differ from the charge's)
    pub new: Located<String>,
    /// charge_id, group_id
    pub group: Located<String>,
    /// charge_id, payer
    pub expected_payers: Option<Located<String>>,
    /// charge_id, reverses_id
    pub reverses: Option<Located<String>>,
    /// Decimals of an amount; default: what ISO 4217 says of the currency.
    pub exponent: Option<u16>,
    /// Amounts are NUMERIC with at most so many decimals (PostgreSQL only), taken as integers of the last one; `None`: integers.
    pub scale: Option<u16>,
}
