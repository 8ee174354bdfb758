//! What the forms that write a flag have in common: the reason, the word for a limit that is set aside, a second person, and where the
//! browser goes afterwards.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use super::form::{Fields, Sent};
use super::page::{base, see_other};
use crate::database::DatabaseConnection;
use crate::flags::Flag;
use crate::http::AppState;
use crate::http::api::proposals::write_by;
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::FlagKey;
use crate::store::proposals::Written;
use crate::store::protection::Authority;
use crate::store::{Origin, StoreError};

/// What was typed below a write, and why it was refused.
#[derive(Default)]
pub struct Typed {
    pub reason: String,
    pub overriding: bool,
    pub error: Option<Problem>,
}

/// The end of a form that writes a flag, as its page shows it.
pub struct Confirm {
    /// It waits for another person.
    pub is_proposed: bool,
    pub offers_override: bool,
    pub overriding: bool,
    pub reason: String,
    pub error: Option<String>,
}

impl Typed {
    /// What was sent with a form that is refused.
    #[must_use]
    pub fn refused(fields: &Fields, error: Problem) -> Self {
        let reason = fields.raw("reason").to_owned();
        Self { reason, overriding: fields.is_ticked("override"), error: Some(error) }
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.error.as_ref().map_or(StatusCode::OK, Problem::status_code)
    }

    /// The end of the form of a write of this flag.
    #[must_use]
    pub fn confirm(self, flag: Option<&Flag>) -> Confirm {
        let protection = flag.map(Flag::protection);
        let asks = matches!(self.error.as_ref().map(Problem::code), Some(Code::ExposureLimit | Code::OverrideNeeded));
        let is_limited = protection.is_some_and(|protection| protection.percent_per_hour.is_some());
        Confirm {
            is_proposed: protection.is_some_and(|protection| protection.two_person),
            offers_override: asks || is_limited || self.overriding,
            overriding: self.overriding,
            reason: self.reason,
            error: self.error.map(|problem| problem.detail().to_owned()),
        }
    }
}

/// Runs a write of a flag with what the form says, and answers with the way to the flag's page, or to the proposal that it became.
pub async fn write<T: Send + 'static>(
    request: &HttpRequest,
    sent: &Sent<Admin>,
    state: &Data<AppState>,
    (key, done): (&FlagKey, &str),
    work: impl FnMut(&mut DatabaseConnection, Authority, Origin<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<HttpResponse, Problem> {
    let asked = (sent.fields.is_ticked("override"), sent.fields.reason()?);
    let token = sent.signed().token.clone();
    let base = base(request);
    Ok(match write_by(state, token, asked, work).await? {
        Written::Done(_) => see_other(&format!("{base}/flags/{key}?done={done}")),
        Written::Proposed(proposal) => see_other(&format!("{base}/proposals/{}?done=proposed", proposal.id)),
    })
}
