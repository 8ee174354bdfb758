//! Versions as entity tags: answers carry `ETag: "12"`, writes may carry `If-Match: "12"`, and a stale one is 412.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::IF_MATCH;
use actix_web::{FromRequest, HttpRequest};

use super::problem::{Code, Problem, shortened};

/// The entity tag of a version.
#[must_use]
pub fn of(version: i64) -> String {
    format!("\"{version}\"")
}

/// The version that the client saw, if it says so. `*` stands for any version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfMatch(pub Option<i64>);

impl FromRequest for IfMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match request.headers().get(IF_MATCH) {
            None => Ok(Self(None)),
            Some(value) => value.to_str().map_err(|_| invalid("…")).and_then(parse),
        })
    }
}

fn parse(text: &str) -> Result<IfMatch, Problem> {
    let text = text.trim();
    if text == "*" {
        return Ok(IfMatch(None));
    }
    let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    version.map(|version| IfMatch(Some(version))).ok_or_else(|| invalid(text))
}

fn invalid(text: &str) -> Problem {
    let detail = format!(
        "`If-Match: {}` is not the ETag of an answer: send one back as it came, such as \"12\", with its quotes.",
        shortened(text)
    );
    Problem::new(Code::InvalidHeader, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_comes_back_as_it_went_out() {
        assert_eq!(parse(&of(12)).unwrap(), IfMatch(Some(12)));
        assert_eq!(parse("*").unwrap(), IfMatch(None));
        for bad in ["", "12", "\"x\"", "W/\"12\"", "\"1\", \"2\"", "\""] {
            assert_eq!(parse(bad).unwrap_err().code(), Code::InvalidHeader, "{bad}");
        }
    }
}
