//! From a change file to the model that SQL is generated from: every name looked up in the live catalogue.

use crate::change::{Block, ChangeFile, Query};
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::sql::basis::{BasisModel, reversed_by_changed, table_name, with_reversals};
use crate::sql::catalogue::{Catalogue, Column, KeyKind, Table};
use crate::sql::driving::driving_key;
use crate::sql::model::{
    BlockModel, ChangeModel, DrivingModel, FollowModel, FrozenModel, SourceModel, SplitModel, TableModel, trimmed,
};
use crate::sql::names::quoted;
use crate::sql::own_columns::own_columns;
use crate::sql::rewrite::{replace_parameter, replace_table};

use super::basis;
use super::catalogue::read_catalogue;
use super::error::TranslationError;
use super::own::open_period_sql;
use super::refusals::read_refusals;

/// Why a scale is of no use on SQLite.
pub(super) const SCALE_ON_SQLITE: &str = "`split.scale` divides NUMERIC amounts of PostgreSQL, and SQLite has none: keep amounts as integers of the smallest unit \
     (10.52 as 1052), and leave `scale` out";

/// Resolves a change file that `check` has found to be right. What has gone wrong since (a dropped table, a renamed column) is an
/// error that names the block.
pub fn resolve(connection: &mut DatabaseConnection, file: &ChangeFile) -> Result<ChangeModel, TranslationError> {
    let catalogue = read_catalogue(connection, file)?;
    let dialect = connection.dialect();
    let keeps_basis = basis::is_kept(connection, file)?;
    let blocks = file.blocks.iter().map(|block| {
        let mut model = resolve_block(connection, file, &catalogue, block)?;
        if let Some(basis) = &mut model.basis {
            basis.is_there = keeps_basis.contains(&basis.name);
        }
        Ok(model)
    });
    Ok(ChangeModel {
        name: file.name.clone(),
        dialect,
        blocks: blocks.collect::<Result<_, TranslationError>>()?,
        search_path: search_path(connection)?,
        time_zone: time_zone(connection, &catalogue)?,
    })
}

fn resolve_block(
    connection: &mut DatabaseConnection,
    file: &ChangeFile,
    catalogue: &Catalogue,
    block: &Block,
) -> Result<BlockModel, TranslationError> {
    let place = Place { block, catalogue };
    let target = place.table(&block.into.value)?;
    let driving = place.driving()?;
    let source = source(block, target);
    let result = match &source {
        SourceModel::Columns(pairs) => pairs.iter().map(|(column, _)| column.clone()).collect(),
        SourceModel::Select(text) => result_columns(connection, text)?,
    };
    let written: Vec<&Column> =
        result.iter().filter_map(|name| target.find_column(&quoted(name))).filter(|column| !column.generated).collect();
    let identity = match block.identity.value.as_slice() {
        [] => target.primary_key.clone(),
        named => named
            .iter()
            .map(|name| place.column(target, name).map(|column| column.name.clone()))
            .collect::<Result<_, _>>()?,
    };
    let is_text =
        |name: &&String| target.columns.iter().any(|column| column.name == **name && column.kind == KeyKind::Text);
    let width = driving.key.len();
    let frozen =
        block.frozen.as_ref().map(|frozen| resolve_frozen(connection, file, &frozen.value, width)).transpose()?;
    let mapped: Vec<String> = written.iter().map(|column| column.name.clone()).collect();
    let refusals = read_refusals(connection, target, &mapped, &identity)?;
    let names = block.key.value.target_columns().into_iter();
    let key: Vec<String> =
        names.map(|name| Ok(place.column(target, name)?.name.clone())).collect::<Result<_, TranslationError>>()?;
    let split = place.split(connection.dialect(), &result, &written)?;
    let kept = Kept { split: split.as_ref(), driving: &driving, source: &source, key: &key, result };
    let basis = place.basis(file, kept, target, connection.dialect())?;
    let follows =
        place.follows(&driving, basis.as_ref().and_then(|basis| basis.reverses.as_deref()), connection.dialect())?;
    Ok(BlockModel {
        id: block.id,
        key,
        text_identity: identity.iter().filter(is_text).cloned().collect(),
        identity,
        mapped,
        inexact: written
            .iter()
            .filter(|column| !column.is_exact)
            .map(|column| (column.name.clone(), column.data_type.clone()))
            .collect(),
        collations: written
            .iter()
            .filter_map(|column| Some((column.name.clone(), column.collation.clone()?)))
            .collect(),
        overrides_minted: written.iter().any(|column| column.is_minted),
        source,
        owns: block.owns.as_ref().map(|owns| owns.value.clone()),
        split,
        basis,
        follows,
        frozen,
        insert: block.backward.insert,
        truncate: block.truncate.or(file.truncate).unwrap_or_default(),
        on_error: block.on_error.or(file.on_error),
        refusals,
        target: table_model(target),
        driving,
    })
}

pub(super) fn source(block: &Block, target: &Table) -> SourceModel {
    // A name that the target does not know as it is written is taken as it stands: it may be a column in mixed case.
    let name =
        |written: &String| target.find_column(written).map_or_else(|| written.clone(), |column| column.name.clone());
    match &block.source {
        Query::Columns(columns) => {
            SourceModel::Columns(columns.pairs.iter().map(|(column, value)| (name(column), value.clone())).collect())
        }
        Query::Select(text) => SourceModel::Select(text.value.clone()),
    }
}

/// The names of the result columns are the same whatever the open period is, and Changeover's own tables may not be there yet.
fn resolve_frozen(
    connection: &mut DatabaseConnection,
    file: &ChangeFile,
    query: &str,
    width: usize,
) -> Result<FrozenModel, TranslationError> {
    let query = trimmed(query);
    let columns = result_columns(connection, &replace_parameter(query, ":open_period", "''"))?;
    if columns.len() != width {
        let what = format!("`frozen` returns {} columns instead of the key's {width}: {query}", columns.len());
        return Err(TranslationError::Unsupported(what));
    }
    let open_period = open_period_sql(connection.dialect(), &file.name);
    Ok(FrozenModel { query: replace_parameter(query, ":open_period", &open_period), columns })
}

/// What a block's stored basis is made of.
struct Kept<'a> {
    split: Option<&'a SplitModel>,
    driving: &'a DrivingModel,
    source: &'a SourceModel,
    key: &'a [String],
    /// The query's result columns.
    result: Vec<String>,
}

/// A block and where its names are looked up.
struct Place<'a> {
    block: &'a Block,
    catalogue: &'a Catalogue,
}

impl<'a> Place<'a> {
    fn table(&self, written: &str) -> Result<&'a Table, TranslationError> {
        let found = self.catalogue.find(written).filter(|table| !table.columns.is_empty());
        let table = found.ok_or_else(|| self.unsupported(&format!("table `{written}` is not in the database")))?;
        if let Some(obstacle) = &table.obstacle {
            return Err(self.unsupported(&format!("`{written}` cannot be translated: {obstacle}")));
        }
        Ok(table)
    }

    fn column(&self, table: &'a Table, written: &str) -> Result<&'a Column, TranslationError> {
        let missing = || self.unsupported(&format!("`{}` has no column `{written}`", table.shown()));
        table.find_column(written).ok_or_else(missing)
    }

    fn driving(&self) -> Result<DrivingModel, TranslationError> {
        let table = self.table(&self.block.from.value)?;
        let key = driving_key(table, &self.block.key.value).map_err(|fault| self.unsupported(&fault.to_string()))?;
        Ok(DrivingModel { table: table_model(table), key: key.columns, key_is_unique: key.is_unique })
    }

    /// The split names result columns without regard to case; the target's column is called as the target calls it.
    fn split(
        &self,
        dialect: Dialect,
        result: &[String],
        written: &[&Column],
    ) -> Result<Option<SplitModel>, TranslationError> {
        let named = |name: &str| {
            let found = result.iter().find(|column| column.eq_ignore_ascii_case(name)).map_or(name, String::as_str);
            let column = written.iter().find(|column| column.name.eq_ignore_ascii_case(found));
            column.map_or(found, |column| &column.name).to_owned()
        };
        let Some(split) = &self.block.split else { return Ok(None) };
        if split.scale.is_some() && dialect == Dialect::Sqlite {
            return Err(self.unsupported(SCALE_ON_SQLITE));
        }
        Ok(Some(SplitModel {
            amount: named(&split.amount),
            by: named(&split.by),
            first: split.first.as_deref().map(named),
            scale: split.scale,
        }))
    }

    /// What the block's division is kept by: for one that freezes keys, or whose rows reverse others.
    fn basis(
        &self,
        file: &ChangeFile,
        kept: Kept<'_>,
        target: &Table,
        dialect: Dialect,
    ) -> Result<Option<BasisModel>, TranslationError> {
        let (Some(split), Some(written)) = (kept.split, &self.block.split) else { return Ok(None) };
        if self.block.frozen.is_none() && written.reverses.is_none() {
            return Ok(None);
        }
        let own = own_columns(kept.source, kept.driving, kept.key, &[&split.amount], dialect);
        let tells_amount = own.columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(&split.amount));
        let is_possible = tells_amount && kept.driving.key_is_unique;
        let reverses = match &written.reverses {
            None if !is_possible => return Ok(None),
            None => None,
            Some(name) if is_possible && kept.driving.key.len() == 1 => {
                Some(self.column(self.table(&self.block.from.value)?, &name.value)?.name.clone())
            }
            Some(_) => {
                return Err(self.unsupported(
                    "`split.reverses` needs a unique key of one column and an amount of the driving table",
                ));
            }
        };
        Ok(Some(BasisModel {
            name: table_name(&file.name, self.block.id.direction, &table_model(target), &kept.driving.table),
            columns: kept.result,
            own,
            reverses,
            is_there: false,
        }))
    }

    /// Rows that reverse others follow them, and whatever these look up.
    fn follows(
        &self,
        driving: &DrivingModel,
        reverses: Option<&str>,
        dialect: Dialect,
    ) -> Result<Vec<FollowModel>, TranslationError> {
        let follows = self.block.follows.iter().map(|follow| {
            let table = self.table(&follow.table.value)?;
            let (keys, reads) = (&follow.keys.value, follow.reads.as_ref().map(|reads| reads.value.clone()));
            Ok(FollowModel {
                table: table_model(table),
                by: self.column(table, &follow.by.value)?.name.clone(),
                keys: reverses.map_or_else(|| keys.clone(), |reverses| with_reversals(driving, reverses, keys)),
                reads: match (reads, reverses) {
                    (Some(reads), Some(reverses)) => Some(self.reads(&reads, driving, reverses, dialect)?),
                    (reads, _) => reads,
                },
            })
        });
        let mut follows: Vec<FollowModel> = follows.collect::<Result<_, TranslationError>>()?;
        if let (Some(reverses), Some(key)) = (reverses, driving.key.first()) {
            let changed = format!("SELECT {} FROM changed", quoted(&key.name));
            follows.push(FollowModel {
                table: driving.table.clone(),
                by: key.name.clone(),
                keys: with_reversals(driving, reverses, &changed),
                reads: Some(reversed_by_changed(driving, reverses)),
            });
        }
        Ok(follows)
    }

    /// What the rows that were written look up, and what those do that they reverse.
    fn reads(
        &self,
        reads: &str,
        driving: &DrivingModel,
        reverses: &str,
        dialect: Dialect,
    ) -> Result<String, TranslationError> {
        let above = reversed_by_changed(driving, reverses);
        let rows = format!(
            "SELECT * FROM changed UNION ALL SELECT co_d.* FROM {} co_d WHERE {} IN ({above})",
            driving.table.sql,
            driving.key_of("co_d").join(""),
        );
        replace_table(trimmed(reads), "changed", &rows, dialect)
            .map_err(|error| self.unsupported(&format!("`reads`: {error}")))
    }

    fn unsupported(&self, what: &str) -> TranslationError {
        TranslationError::Unsupported(format!("block {} (line {}): {what}", self.block.id, self.block.line))
    }
}

pub(super) fn table_model(table: &Table) -> TableModel {
    TableModel {
        sql: table.sql_name(),
        name: table.name.clone(),
        columns: table.columns.iter().map(|column| column.name.clone()).collect(),
        references: table.references.clone(),
        partitions: table.partitions.clone(),
    }
}

/// The names of a query's result columns. The database is asked through a temporary view, which nobody else sees and which is gone
/// at once.
fn result_columns(connection: &mut DatabaseConnection, query: &str) -> Result<Vec<String>, DatabaseError> {
    let query = trimmed(query);
    connection.in_rolled_back_transaction(|connection| {
        let (create, columns) = match connection.dialect() {
            Dialect::Postgres => (
                format!("CREATE TEMP VIEW changeover_result AS\n{query}"),
                "SELECT attname AS name FROM pg_attribute WHERE attrelid = 'pg_temp.changeover_result'::regclass AND attnum > 0 ORDER BY attnum",
            ),
            Dialect::Sqlite => (
                format!("CREATE TEMP VIEW changeover_result AS\n{query}"),
                "SELECT name FROM pragma_table_info('changeover_result') ORDER BY cid",
            ),
        };
        connection.batch(&create)?;
        connection.query(columns, &[])?.iter().map(|row| row.text("name")).collect()
    })
}

/// The database's own time zone, which backfill and verify have, where some column is shown differently in another.
fn time_zone(connection: &mut DatabaseConnection, catalogue: &Catalogue) -> Result<Option<String>, DatabaseError> {
    let mut columns = catalogue.tables.values().flat_map(|table| &table.columns);
    if connection.dialect() == Dialect::Sqlite || !columns.any(|column| column.base_type.contains("with time zone")) {
        return Ok(None);
    }
    Ok(Some(connection.get_row("SELECT current_setting('TimeZone') AS zone", &[])?.text("zone")?))
}

/// The schemas that unqualified names mean now, pinned into every generated function.
fn search_path(connection: &mut DatabaseConnection) -> Result<String, DatabaseError> {
    match connection.dialect() {
        Dialect::Sqlite => Ok(String::new()),
        Dialect::Postgres => {
            let sql = "SELECT coalesce(string_agg(quote_ident(s), ', '), 'public') AS path FROM unnest(current_schemas(false)) AS s";
            connection.get_row(sql, &[])?.text("path")
        }
    }
}
