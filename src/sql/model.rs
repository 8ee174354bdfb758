//! What the SQL generators need to know of a change: its blocks, with every name resolved against the live catalogue.

use crate::change::{BlockId, Direction, OnError, Stage, Truncate};
use crate::primitives::{ChangeName, Dialect};

use super::basis::BasisModel;
use super::keys::{KeyColumn, columns, equal};
use super::names::quoted;
use super::rewrite::reads_table;

/// A change whose names have been resolved.
#[derive(Debug, Clone)]
pub struct ChangeModel {
    pub name: ChangeName,
    pub dialect: Dialect,
    /// Forward blocks in the order of the file, then backward blocks.
    pub blocks: Vec<BlockModel>,
    /// PostgreSQL: the schemas that unqualified names in the change file mean, quoted and comma-separated.
    pub search_path: String,
    /// PostgreSQL: the time zone in which blocks are computed, whatever the writer's session says; `None` if no table has a column of a type
    /// that depends on it.
    pub time_zone: Option<String>,
}

/// A table of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableModel {
    /// Quoted and, where needed, qualified.
    pub sql: String,
    /// The bare name, unquoted: for object names, aliases and messages.
    pub name: String,
    /// Unquoted.
    pub columns: Vec<String>,
    /// The tables that its foreign keys refer to, as SQL.
    pub references: Vec<String>,
    /// PostgreSQL: every table below a partitioned one. A statement fires the triggers only of the table that it names.
    pub partitions: Vec<String>,
}

/// A driving table with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrivingModel {
    pub table: TableModel,
    /// The columns whose values are refreshed together, in order: the primary key, a unique index, or what the block says.
    pub key: Vec<KeyColumn>,
    /// False if several rows may have the same key, so that a target row may be computed from more than one of them.
    pub key_is_unique: bool,
}

impl DrivingModel {
    /// The key's columns of `relation`, as SQL.
    #[must_use]
    pub fn key_of(&self, relation: &str) -> Vec<String> {
        columns(relation, self.key.iter().map(|column| &column.name))
    }
}

/// A block whose names have been resolved.
#[derive(Debug, Clone)]
pub struct BlockModel {
    pub id: BlockId,
    pub target: TableModel,
    pub driving: DrivingModel,
    /// The target's columns that hold the driving key, unquoted, in its order.
    pub key: Vec<String>,
    /// Columns that identify a row of the target, unquoted.
    pub identity: Vec<String>,
    /// Columns of `identity` that hold text, and so sort bytewise when remainders tie.
    pub text_identity: Vec<String>,
    /// Target columns that the block writes, unquoted, `key` and `identity` among them.
    pub mapped: Vec<String>,
    /// Those of `mapped` whose values may be equal to the database and yet differ, with their types: they are compared as text.
    pub inexact: Vec<(String, String)>,
    /// PostgreSQL: those of `mapped` with a collation of their own, and that collation as SQL. The query's may be another.
    pub collations: Vec<(String, String)>,
    /// PostgreSQL: true if a row brings a value for a column that is GENERATED ALWAYS AS IDENTITY.
    pub overrides_minted: bool,
    pub source: SourceModel,
    pub owns: Option<String>,
    pub split: Option<SplitModel>,
    /// What a division is kept by, for a block that freezes keys or reverses rows.
    pub basis: Option<BasisModel>,
    pub follows: Vec<FollowModel>,
    /// Keys that `follows` leaves alone.
    pub frozen: Option<FrozenModel>,
    /// False: rows of the target are only updated.
    pub insert: bool,
    /// What TRUNCATE of a table that the block reads does.
    pub truncate: Truncate,
    /// What becomes of a write that the block cannot translate, if the change file says; see [`BlockModel::on_error`].
    pub on_error: Option<OnError>,
    /// What the target refuses.
    pub refusals: RefusalModel,
}

/// What a target refuses, as far as the catalogue tells: a refresh that must not fail looks out for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusalModel {
    /// Mapped columns that cannot be NULL, unquoted.
    pub not_null: Vec<String>,
    /// Unique keys besides the identity, all of their columns mapped, unquoted.
    pub unique: Vec<Vec<String>>,
    /// SQLite: foreign keys of mapped columns to other tables.
    pub parents: Vec<ParentModel>,
    /// SQLite: the target has CHECK constraints.
    pub checks: bool,
    /// PostgreSQL: constraints that are checked when the transaction commits, qualified and quoted.
    pub deferred: Vec<String>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentModel {
    /// The table that is referred to, quoted.
    pub table: String,
    /// (column here, column there), unquoted
    pub columns: Vec<(String, String)>,
}

/// Where a block's rows come from.
#[derive(Debug, Clone)]
pub enum SourceModel {
    /// (target column, expression over the driving table)
    Columns(Vec<(String, String)>),
    Select(String),
}

/// Result columns of the query by which an amount is divided.
#[derive(Debug, Clone)]
pub struct SplitModel {
    pub amount: String,
    pub by: String,
    pub first: Option<String>,
    /// PostgreSQL: decimals of the amounts, which are NUMERIC. `None`: they are integers.
    pub scale: Option<u16>,
}

/// Keys of closed periods.
#[derive(Debug, Clone)]
pub struct FrozenModel {
    /// The query, its parameters replaced.
    pub query: String,
    /// Its result columns, unquoted, in the key's order. Named, so that both databases look one key up instead of reading all.
    pub columns: Vec<String>,
}

/// A follow table, and how its changes find driving keys.
#[derive(Debug, Clone)]
pub struct FollowModel {
    pub table: TableModel,
    pub by: String,
    pub keys: String,
    pub reads: Option<String>,
}

impl ChangeModel {
    /// Blocks of one direction, in order.
    pub fn blocks_of(&self, direction: Direction) -> impl DoubleEndedIterator<Item = &BlockModel> {
        self.blocks.iter().filter(move |block| block.id.direction == direction)
    }

    /// The blocks of these names (`f1`, `b2`); the name that is none.
    pub fn blocks_named(&self, names: &[String]) -> Result<Vec<BlockId>, String> {
        let find = |name: &String| self.blocks.iter().map(|block| block.id).find(|id| id.to_string() == *name);
        names.iter().map(|name| find(name).ok_or_else(|| name.clone())).collect()
    }

    /// Every table that some block of `direction` is driven by or follows, each once, in the order of the blocks.
    #[must_use]
    pub fn sources_of(&self, direction: Direction) -> Vec<TableModel> {
        let mut sources: Vec<TableModel> = Vec::new();
        for block in self.blocks_of(direction) {
            let tables = std::iter::once(&block.driving.table).chain(block.follows.iter().map(|follow| &follow.table));
            for table in tables {
                if !sources.contains(table) {
                    sources.push(table.clone());
                }
            }
        }
        sources
    }

    /// True if `table` belongs to the new model: a forward block writes it, or a backward block is driven by it.
    #[must_use]
    pub fn is_new(&self, table: &TableModel) -> bool {
        self.blocks.iter().any(|block| match block.id.direction {
            Direction::Forward => block.target.sql == table.sql,
            Direction::Backward => block.driving.table.sql == table.sql,
        })
    }

    /// True if a block of `direction` writes `table`. Only there do the other direction's triggers stay quiet while this one is being
    /// translated: a write to any other table is one that the application's own trigger, or a foreign key's cascade, has made meanwhile.
    #[must_use]
    pub fn is_written_by(&self, direction: Direction, table: &TableModel) -> bool {
        self.blocks_of(direction).any(|block| block.target.sql == table.sql)
    }

    /// True if a write to `table` goes out to the other model in this direction; otherwise it re-derives within its own.
    #[must_use]
    pub fn goes_out(&self, table: &TableModel, direction: Direction) -> bool {
        self.is_new(table) == (direction == Direction::Backward)
    }

    /// The blocks driven by `table` whose rows refer, by a foreign key, to rows that another such block writes: last first. An update that
    /// takes both away takes these first, or the foreign key would refuse it.
    #[must_use]
    pub fn deleted_first(&self, direction: Direction, table: &TableModel) -> Vec<&BlockModel> {
        let driven = || self.blocks_of(direction).filter(|block| block.driving.table == *table && block.insert);
        let refers = |block: &&BlockModel| driven().any(|other| block.target.references.contains(&other.target.sql));
        driven().rev().filter(refers).collect()
    }

    /// True if TRUNCATE of `table` is translated in this direction: every block that is driven by it or follows it says so.
    #[must_use]
    pub fn translates_truncate(&self, direction: Direction, table: &TableModel) -> bool {
        let reads = |block: &&BlockModel| {
            block.driving.table == *table || block.follows.iter().any(|follow| follow.table == *table)
        };
        self.blocks_of(direction).filter(reads).all(|block| block.truncate == Truncate::Propagate)
    }

    /// The stem of the change's object names: `billing_allocation`.
    #[must_use]
    pub fn stem(&self) -> String {
        self.name.identifier()
    }
}

impl BlockModel {
    /// What becomes of a write that the block cannot translate at `stage`.
    #[must_use]
    pub fn on_error(&self, stage: Stage) -> OnError {
        self.on_error.unwrap_or_else(|| OnError::by_default(stage))
    }

    /// The block's query as one SELECT.
    #[must_use]
    pub fn query(&self) -> String {
        match &self.source {
            SourceModel::Select(text) => trimmed(text).to_owned(),
            SourceModel::Columns(_) => self.columns_over(&self.driving.table.sql),
        }
    }

    /// True if the query reads the table that the block writes, so that what a key gets may follow from what another key has.
    #[must_use]
    pub fn reads_target(&self, dialect: Dialect) -> bool {
        match &self.source {
            // A text that cannot be taken apart may read anything.
            SourceModel::Select(text) => reads_table(trimmed(text), &self.target.name, dialect).unwrap_or(true),
            SourceModel::Columns(_) => false,
        }
    }

    /// The short form's query over `relation`, which has the driving table's columns; `None` for a written query.
    #[must_use]
    pub fn short_form_over(&self, relation: &str) -> Option<String> {
        matches!(self.source, SourceModel::Columns(_)).then(|| self.columns_over(relation))
    }

    fn columns_over(&self, relation: &str) -> String {
        let SourceModel::Columns(pairs) = &self.source else { return String::new() };
        let list: Vec<String> =
            pairs.iter().map(|(column, expression)| format!("({expression}) AS {}", quoted(column))).collect();
        format!("SELECT {} FROM {relation} AS {}", list.join(", "), quoted(&self.driving.table.name))
    }

    /// True for a `key` (an SQL expression for each column) that is not frozen, or has no row in the target yet; `None` for a block without `frozen`.
    #[must_use]
    pub fn thawed(&self, key: &[String]) -> Option<String> {
        let frozen = self.frozen.as_ref()?;
        Some(format!(
            "(NOT EXISTS (SELECT 1 FROM (\n{}\n) z WHERE {}) OR NOT EXISTS (SELECT 1 FROM {} t WHERE {}))",
            trimmed(&frozen.query),
            equal(&columns("z", &frozen.columns), key),
            self.target.sql,
            equal(&self.key_of("t"), key),
        ))
    }

    /// The columns of `relation` (the target, or the query's result) that hold the key, as SQL.
    #[must_use]
    pub fn key_of(&self, relation: &str) -> Vec<String> {
        columns(relation, &self.key)
    }

    /// Mapped columns that a refresh may change in a row that is there: those that do not identify it, and identifying ones that can
    /// differ although they are equal, such as text without regard to case.
    #[must_use]
    pub fn payload(&self) -> Vec<&String> {
        let is_changing = |column: &&String| !self.identity.contains(column) || self.inexact_type(column).is_some();
        self.mapped.iter().filter(is_changing).collect()
    }

    /// A column of `relation`, which has the query's rows, to be compared with the target's.
    #[must_use]
    pub fn expected_column(&self, relation: &str, column: &str) -> String {
        match self.collations.iter().find(|(name, _)| name == column) {
            Some((_, collation)) => format!("{relation}.{} COLLATE {collation}", quoted(column)),
            None => format!("{relation}.{}", quoted(column)),
        }
    }

    /// The type of a column that is compared as text.
    #[must_use]
    pub fn inexact_type(&self, column: &str) -> Option<&str> {
        self.inexact.iter().find(|(name, _)| name == column).map(|(_, data_type)| data_type.as_str())
    }

    /// The block as messages name it: `f1 (accounts)`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} ({})", self.id, self.target.name)
    }
}

/// A query without trailing semicolons and blanks, so that it can stand in parentheses.
#[must_use]
pub fn trimmed(text: &str) -> &str {
    text.trim().trim_end_matches([';', ' ', '\n', '\t', '\r'])
}

/// What fires a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Insert,
    Update,
    Delete,
}

impl Event {
    pub const ALL: [Self; 3] = [Self::Insert, Self::Update, Self::Delete];

    /// `insert`, `update` or `delete`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}
