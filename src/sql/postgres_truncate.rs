//! What TRUNCATE of a source table causes on PostgreSQL: a refusal, or, where all blocks concerned say `truncate = "propagate"`, the
//! removal of what they own for keys that are gone and a refresh of what else they read.

use crate::change::Direction;

use super::keys::{columns, equal, is_there, variables};
use super::model::{BlockModel, ChangeModel, TableModel};
use super::names::literal;
use super::postgres::block_function;
use super::postgres_block::assign;

/// The body of a table's truncate trigger function while its direction is translated.
#[must_use]
pub fn truncate_body(change: &ChangeModel, direction: Direction, table: &TableModel) -> String {
    if !change.translates_truncate(direction, table) {
        let message = format!(
            "changeover: TRUNCATE of {} is refused while change {} translates it: use DELETE, or write truncate = \"propagate\" in the change file before it is installed",
            table.name, change.name
        );
        return format!(
            "  RAISE EXCEPTION USING MESSAGE = {}, ERRCODE = 'feature_not_supported';\n",
            literal(&message)
        );
    }
    let driven = |block: &&BlockModel| block.driving.table == *table;
    let deletes = change.blocks_of(direction).rev().filter(driven).filter(|block| block.insert).map(delete_gone);
    let refreshes =
        change.blocks_of(direction).filter(|block| rereads(block, table)).map(|block| refresh_all(change, block));
    deletes.chain(refreshes).collect()
}

/// True if target rows of keys that are still there may have changed: the block follows the table, or the truncated partition held some
/// of the rows of a key.
fn rereads(block: &BlockModel, table: &TableModel) -> bool {
    let has_lost_some = block.driving.table == *table && !block.driving.key_is_unique;
    has_lost_some || block.follows.iter().any(|follow| follow.table == *table)
}

/// Deletes the owned target rows whose key no driving row has. If a partition was truncated, others still have theirs.
fn delete_gone(block: &BlockModel) -> String {
    let (target, driving) = (&block.target.sql, &block.driving);
    let key = block.key_of(target);
    let owned = block.owns.as_ref().map(|owns| format!("\n  AND ({owns})")).unwrap_or_default();
    format!(
        "  DELETE FROM {target} WHERE {}{owned}\n  AND NOT EXISTS (SELECT 1 FROM {} d WHERE {});\n",
        is_there(&key),
        driving.table.sql,
        equal(&driving.key_of("d"), &key),
    )
}

fn refresh_all(change: &ChangeModel, block: &BlockModel) -> String {
    let driving = &block.driving;
    let stem = format!("co_{}", block.id);
    let key = driving.key_of("d");
    let thawed = block.thawed(&key).map(|thawed| format!(" AND {thawed}")).unwrap_or_default();
    let columns = columns("d", driving.key.iter().map(|column| &column.name)).join(", ");
    let select = format!(
        "SELECT DISTINCT {columns} FROM {} d WHERE {}{thawed} ORDER BY {columns}",
        driving.table.sql,
        is_there(&key)
    );
    format!(
        "{}  PERFORM {}({});\n",
        assign(block, &stem, &select),
        block_function(change, block, "refresh"),
        variables(&stem, &driving.key).join(", "),
    )
}
