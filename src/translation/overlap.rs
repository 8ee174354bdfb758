//! Several changes in one database: two of them must not fill the same rows, or each would undo the other's work for good.

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError};
use crate::sql::model::{BlockModel, ChangeModel};

use super::error::TranslationError;
use super::own::list_changes;
use super::resolve::resolve;

/// An error if a block fills rows that a block of another installed change fills: both insert and delete there, and their `owns` are
/// not two disjoint conditions; or both write the same column.
pub fn refuse_overlaps(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<(), TranslationError> {
    for change in list_changes(connection)?.into_iter().filter(|change| change.name != model.name) {
        if change.stage == crate::change::Stage::Complete {
            continue;
        }
        let other = match resolve(connection, &change.file) {
            Ok(other) => other,
            Err(TranslationError::Database(error)) if error.is_disconnected() => return Err(error.into()),
            // Its tables are not what they were: it fills nothing that could be compared.
            Err(_) => continue,
        };
        for (mine, theirs) in pairs(model, &other) {
            if overlap(connection, mine, theirs)? {
                return Err(TranslationError::Overlap {
                    block: mine.label(),
                    table: mine.target.name.clone(),
                    other: other.name.clone(),
                    theirs: theirs.label(),
                });
            }
        }
    }
    Ok(())
}

/// Blocks of two changes that fill the same table. Changes may feed one another: where one fills a table and carries it back, a backward
/// block of the other one is to it what new code is.
fn pairs<'a>(one: &'a ChangeModel, other: &'a ChangeModel) -> Vec<(&'a BlockModel, &'a BlockModel)> {
    let carries_back = |change: &ChangeModel, forward: &BlockModel| {
        forward.id.direction == Direction::Forward
            && change.blocks_of(Direction::Backward).any(|block| block.driving.table == forward.target)
    };
    let feeds = move |mine: &BlockModel, theirs: &BlockModel| {
        mine.id.direction != theirs.id.direction && (carries_back(one, mine) || carries_back(other, theirs))
    };
    let same =
        move |mine: &BlockModel, theirs: &BlockModel| mine.target.sql == theirs.target.sql && !feeds(mine, theirs);
    one.blocks
        .iter()
        .flat_map(|mine| other.blocks.iter().filter(move |theirs| same(mine, theirs)).map(move |theirs| (mine, theirs)))
        .collect()
}

fn overlap(connection: &mut DatabaseConnection, mine: &BlockModel, theirs: &BlockModel) -> Result<bool, DatabaseError> {
    if let (Some(own), Some(other)) = (&mine.owns, &theirs.owns) {
        let sql = format!(
            "SELECT count(*) AS n FROM (SELECT 1 FROM {} WHERE ({own}) AND ({other}) LIMIT 1) o",
            mine.target.sql
        );
        return Ok(own == other || connection.get_row(&sql, &[])?.integer("n")? > 0);
    }
    let written = mine.payload();
    let shares_column = theirs.payload().iter().any(|column| written.contains(column));
    Ok(shares_column || (mine.insert && theirs.insert))
}
