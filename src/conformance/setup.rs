//! Gives the flag set to a Changeover server, and takes it away again, through its API.

use std::time::Duration;

use serde_json::Value;

use super::client::Target;
use super::flag_set;

/// A write that the server did not take.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{url} could not be asked to {what}")]
    Silent { url: String, what: String, source: Box<ureq::Error> },
    #[error("{url} did not {what}, but answered {status} {body}")]
    Refused { url: String, what: String, status: u16, body: String },
}

/// Creates or replaces every flag of the set.
pub fn create_flags(target: &Target, admin_token: &str) -> Result<(), SetupError> {
    for flag in flag_set::flags() {
        let key = flag.get("key").and_then(Value::as_str).unwrap_or_default();
        let what = format!("create the flag {key}");
        let body = flag.to_string();
        let path = "/api/v1/flags".to_owned();
        let (status, text) = send(target, admin_token, "POST", &path, &body, &what)?;
        let (status, text) = match status {
            409 => send(target, admin_token, "PUT", &format!("{path}/{key}"), &body, &what)?,
            _ => (status, text),
        };
        if !(200..300).contains(&status) {
            return Err(SetupError::Refused { url: target.url().to_owned(), what, status, body: text });
        }
    }
    Ok(())
}

/// Removes every flag of the set that is there.
pub fn remove_flags(target: &Target, admin_token: &str) -> Result<(), SetupError> {
    for key in flag_set::keys() {
        let what = format!("remove the flag {key}");
        let (status, body) = send(target, admin_token, "DELETE", &format!("/api/v1/flags/{key}"), "", &what)?;
        if status != 404 && !(200..300).contains(&status) {
            return Err(SetupError::Refused { url: target.url().to_owned(), what, status, body });
        }
    }
    Ok(())
}

fn send(
    target: &Target,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
    what: &str,
) -> Result<(u16, String), SetupError> {
    let silent = |error: ureq::Error| SetupError::Silent {
        url: target.url().to_owned(),
        what: what.to_owned(),
        source: Box::new(error),
    };
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30)));
    let agent: ureq::Agent = config.http_status_as_error(false).max_redirects(0).build().into();
    let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", target.url()));
    let request = request.header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json");
    let request = request.body(body.to_owned()).map_err(|error| silent(error.into()))?;
    let mut answer = agent.run(request).map_err(silent)?;
    let status = answer.status().as_u16();
    Ok((status, answer.body_mut().read_to_string().map_err(silent)?))
}
