//! PostgreSQL: refreshes some keys until nothing changes any more, where a block's query reads the block's own target. What one of the
//! keys gets may follow from what another has (a refund is divided as the refunded charge is), and a statement does not see what it
//! writes itself.

use crate::primitives::Dialect;

use super::basis::record_call;
use super::keys::{Keys, variables};
use super::model::{BlockModel, ChangeModel};
use super::statements::{delete_unexpected, differs, same_identity, upsert_expected};

const DIALECT: Dialect = Dialect::Postgres;

/// How long a chain of keys may be of which each follows from the one before. A query whose rows would never come to rest ends here too,
/// and `verify` says so.
const ROUNDS_MAX: u32 = 64;

/// Statements that follow the first refresh of the keys in arrays called `stem`. Nothing for a block that does not read its target; of a
/// single key they do nothing.
#[must_use]
pub fn settle(change: &ChangeModel, block: &BlockModel, stem: &str) -> String {
    if !block.reads_target(DIALECT) {
        return String::new();
    }
    let keys = Keys::Arrays(stem);
    let arrays = variables(stem, &block.driving.key);
    let first = arrays.first().map_or("", String::as_str);
    let delete = delete_unexpected(block, DIALECT, keys)
        .map(|delete| format!("{delete};\n      GET DIAGNOSTICS co_deleted = ROW_COUNT;\n"))
        .unwrap_or_default();
    // Rows in order are left out before the conflict is looked for: that would lock them.
    let is_in_order = format!(
        "EXISTS (SELECT 1 FROM {} co_t WHERE {} AND NOT ({}))",
        block.target.sql,
        same_identity(block, "co_t", "e"),
        differs(block, DIALECT, "co_t", "e"),
    );
    format!(
        "  IF cardinality({first}) > 1 THEN\n  DECLARE\n    co_deleted bigint := 0;\n    co_written bigint;\n  BEGIN\n\
         \x20   FOR co_round IN 1..{ROUNDS_MAX} LOOP\n{record}{delete}{upsert};\n      GET DIAGNOSTICS co_written = ROW_COUNT;\n\
         \x20     EXIT WHEN co_deleted + co_written = 0;\n    END LOOP;\n  END;\n  END IF;\n",
        record = record_call(change, block, &arrays.join(", ")),
        upsert = upsert_expected(block, DIALECT, keys, &format!("NOT {is_in_order}")),
    )
}
