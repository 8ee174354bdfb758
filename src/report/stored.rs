//! All exceptions of a stored report, a page at a time, also of those that its document does not list.

use super::csv_set::ExceptionPages;
use super::document::Report;
use crate::allocation::ExceptionLine;
use crate::store::report_exceptions::{self, ExceptionFilter};
use crate::store::{PageRequest, Store, StoreError};

/// The exceptions that the store keeps of a report.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    pub store: &'a Store,
    /// The report's id.
    pub id: &'a str,
}

impl ExceptionPages for Stored<'_> {
    fn after(&mut self, charge_id: Option<&str>) -> Result<Vec<ExceptionLine>, StoreError> {
        let request = PageRequest { after: charge_id.map(ToOwned::to_owned), limit: Some(PageRequest::LIMIT_MAX) };
        let filter = ExceptionFilter::default();
        Ok(self.store.read(|connection| report_exceptions::list(connection, self.id, &filter, &request))?.items)
    }
}

/// The id under which the store keeps all of a report's exceptions; none of a report that is not stored, or is older than they are.
#[must_use]
pub fn has_all_exceptions(report: &Report) -> Option<&str> {
    report.id.as_deref().filter(|_| report.data.exceptions_sha256.is_some())
}
