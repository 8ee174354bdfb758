//! Where the id of a request's visitor stands: a header, a cookie, or a claim of a JSON Web Token in one of these.

use serde::{Deserialize, Serialize};

use super::settings::InvalidSettings;

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Header(String),
    Cookie(String),
}

/// A token, and what of it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSource {
    pub place: Place,
    /// The name of the keys that verify it, a setting of the server.
    pub key: String,
    /// The claim that holds the visitor's id.
    pub claim: String,
    /// Who the token must be for. Without it, tokens for somebody in particular are refused.
    pub audience: Option<String>,
    /// Who must have issued it.
    pub issuer: Option<String>,
}

/// One way to know a visitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Source {
    /// The id itself. It is proved only if the proxy sets it from its own sign-in, and overwrites what a visitor sends.
    Plain { place: Place, proved: bool },
    /// A claim of a token, which its signature proves.
    Jwt(JwtSource),
}

/// A source as people write it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    proved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<WrittenJwt>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenJwt {
    key: String,
    #[serde(default = "default_claim")]
    claim: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

fn default_claim() -> String {
    String::from("sub")
}

impl Place {
    /// A header or a cookie, of which exactly one is named.
    pub(super) fn of(header: Option<String>, cookie: Option<String>) -> Result<Self, InvalidSettings> {
        match (header, cookie) {
            (Some(name), None) if is_token(&name) => Ok(Self::Header(name)),
            (None, Some(name)) if is_token(&name) => Ok(Self::Cookie(name)),
            (Some(name), None) | (None, Some(name)) => Err(InvalidSettings::PlaceName(name.chars().take(80).collect())),
            (Some(_), Some(_)) | (None, None) => Err(InvalidSettings::Place),
        }
    }

    fn into_written(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Header(name) => (Some(name), None),
            Self::Cookie(name) => (None, Some(name)),
        }
    }
}

/// A name as HTTP has them for headers and cookies.
fn is_token(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl TryFrom<Written> for Source {
    type Error = InvalidSettings;

    fn try_from(written: Written) -> Result<Self, InvalidSettings> {
        let Some(jwt) = written.jwt else {
            return Ok(Self::Plain { place: Place::of(written.header, written.cookie)?, proved: written.proved });
        };
        if written.proved {
            return Err(InvalidSettings::ProvedJwt);
        }
        let place = match (written.header, written.cookie) {
            (None, None) => Place::Header(String::from("Authorization")),
            (header, cookie) => Place::of(header, cookie)?,
        };
        let WrittenJwt { key, claim, audience, issuer } = jwt;
        if key.is_empty() || claim.is_empty() {
            return Err(InvalidSettings::Jwt);
        }
        Ok(Self::Jwt(JwtSource { place, key, claim, audience, issuer }))
    }
}

impl From<Source> for Written {
    fn from(source: Source) -> Self {
        match source {
            Source::Plain { place, proved } => {
                let (header, cookie) = place.into_written();
                Self { header, cookie, proved, jwt: None }
            }
            Source::Jwt(JwtSource { place, key, claim, audience, issuer }) => {
                let (header, cookie) = place.into_written();
                Self { header, cookie, proved: false, jwt: Some(WrittenJwt { key, claim, audience, issuer }) }
            }
        }
    }
}
