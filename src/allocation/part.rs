//! What one chunk of a comparison found: enough to add it to the others later, in another run, without looking at its charges again.

use serde::{Deserialize, Serialize};

use super::comparison::{AskedCharge, ClassTotal, ControlTotal, ExceptionLine};

/// One chunk's share of a comparison. To whoever stores it, it is a document: JSON in, the same JSON out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparePart {
    /// Its place among the chunks, from 0.
    pub number: u64,
    /// Of which comparison it is a part: the queries, the periods and what else it depends on, as a checksum.
    pub basis: String,
    /// Its charges' ids begin here; `None`: nothing is before them.
    pub from: Option<String>,
    /// Its charges' ids end before this one; `None`: nothing is after them.
    pub to: Option<String>,
    /// How many charges were read.
    pub charges: u64,
    /// Of everything that was read for it, in no order; `None` if the run was not asked for it.
    pub checksum: Option<String>,
    pub totals: Vec<ControlTotal>,
    pub classes: Vec<ClassTotal>,
    /// What each payer pays, packed.
    pub payers: String,
    /// The first ones; `classes` counts all.
    pub exceptions: Vec<ExceptionLine>,
    pub asked: Vec<AskedCharge>,
}
