//! Declared losses: each names a column of the block's target that the block fills.

use super::{CheckedBlock, Checker};
use crate::change::{ChangeFile, shown};

pub(super) fn check(checker: &mut Checker<'_>, file: &ChangeFile, checked: &[CheckedBlock]) {
    for block in &file.blocks {
        let Some(target) = checker.catalogue.find(&block.into.value) else { continue };
        let filled = checked.iter().find(|found| found.id == block.id);
        for loss in &block.loss {
            let Some(column) = checker.column(&block.label(), loss.line, target, &loss.column) else { continue };
            let is_filled = |block: &CheckedBlock| {
                block
                    .columns
                    .iter()
                    .any(|found| target.find_column(&found.name).is_some_and(|found| found.name == column.name))
            };
            if filled.is_some_and(|filled| !is_filled(filled)) {
                let what = format!("`loss` declares {}, which the block does not fill", shown(&loss.column));
                checker.mistake(&block.label(), loss.line, &what, "name a column that it fills, or remove it");
            }
        }
    }
}
