//! What people set for a change: how visitors are known, what decides their side, which upstreams there are, who may choose one for
//! themselves and who passes maintenance.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::source::{Place, Source};
use crate::primitives::{CohortName, FlagKey};

const SOURCES_MAX: usize = 8;
const UPSTREAMS_MAX: usize = 50;

/// The name of an upstream: what the proxy's configuration calls it. It is never made from what a visitor sends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamName(String);

impl UpstreamName {
    /// 1 to 63 lower-case letters, digits, `_` or `-`, the first one a letter or digit: safe in a header and in a proxy's map.
    ///
    /// # Errors
    /// Any other text.
    pub fn new(text: &str) -> Result<Self, InvalidSettings> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if begins_well && text.len() <= 63 && text.bytes().all(is_plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidSettings::Upstream(text.chars().take(80).collect()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UpstreamName {
    type Error = InvalidSettings;

    fn try_from(text: String) -> Result<Self, InvalidSettings> {
        Self::new(&text)
    }
}

impl From<UpstreamName> for String {
    fn from(name: UpstreamName) -> Self {
        name.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The upstream of each side, and those that may be chosen besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstreams {
    pub old: UpstreamName,
    pub new: UpstreamName,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub others: BTreeSet<UpstreamName>,
}

impl Default for Upstreams {
    fn default() -> Self {
        let (old, new) = (UpstreamName(String::from("old")), UpstreamName(String::from("new")));
        Self { old, new, others: BTreeSet::new() }
    }
}

impl Upstreams {
    /// The upstream of this name, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&UpstreamName> {
        let all = [&self.old, &self.new].into_iter().chain(&self.others);
        all.into_iter().find(|upstream| upstream.as_str() == name)
    }
}

/// Who may choose an upstream for themselves, and where they say which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenChoice", into = "WrittenChoice")]
pub struct Choice {
    pub cohort: CohortName,
    /// The header comes first.
    pub places: Vec<Place>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChoice {
    cohort: CohortName,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
}

impl TryFrom<WrittenChoice> for Choice {
    type Error = InvalidSettings;

    fn try_from(written: WrittenChoice) -> Result<Self, InvalidSettings> {
        let header = written.header.map(|name| Place::of(Some(name), None)).transpose()?;
        let cookie = written.cookie.map(|name| Place::of(None, Some(name))).transpose()?;
        let places: Vec<Place> = header.into_iter().chain(cookie).collect();
        if places.is_empty() {
            return Err(InvalidSettings::ChoicePlace);
        }
        Ok(Self { cohort: written.cohort, places })
    }
}

impl From<Choice> for WrittenChoice {
    fn from(choice: Choice) -> Self {
        let mut written = Self { cohort: choice.cohort, header: None, cookie: None };
        for place in choice.places {
            match place {
                Place::Header(name) => written.header = Some(name),
                Place::Cookie(name) => written.cookie = Some(name),
            }
        }
        written
    }
}

/// A claim of a verified token, and what it must say: the text itself, or a list that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimIs {
    pub name: String,
    pub value: String,
}

/// Who passes maintenance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohort: Option<CohortName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimIs>,
}

impl Pass {
    fn is_nobody(&self) -> bool {
        self.cohort.is_none() && self.claim.is_none()
    }
}

/// The settings of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How visitors are known; the first that gives an id counts. Empty: nobody is.
    #[serde(default)]
    pub subject: Vec<Source>,
    /// A flag that decides by itself, anew for each request. Without it the recorded side of the visitor's group does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<FlagKey>,
    #[serde(default)]
    pub upstreams: Upstreams,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    #[serde(default, skip_serializing_if = "Pass::is_nobody")]
    pub pass: Pass,
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    #[error(
        "`{0}` is not a name of an upstream: 1 to 63 lower-case letters, digits, `_` or `-`, the first one a letter or digit"
    )]
    Upstream(String),
    #[error("`upstreams` names `{0}` twice: `old`, `new` and each of `others` differ")]
    UpstreamTwice(UpstreamName),
    #[error("{0} upstreams are too many: at most {UPSTREAMS_MAX}")]
    TooManyUpstreams(usize),
    #[error("a source of the visitor's id names one `header` or one `cookie`")]
    Place,
    #[error("`{0}` is not the name of a header or cookie")]
    PlaceName(String),
    #[error("`choice` says in which `header` or `cookie` an upstream is named, or both")]
    ChoicePlace,
    #[error("a `jwt` is proved by its signature: leave `proved` out")]
    ProvedJwt,
    #[error(
        "a `jwt` names the `key` that verifies it, as servers have it (--edge-key), and the `claim` that holds the id"
    )]
    Jwt,
    #[error("{0} sources of the visitor's id are too many: at most {SOURCES_MAX}")]
    TooManySources(usize),
    #[error(
        "`{0}` can be used by nobody: no source in `subject` is proved. Use a `jwt`, or a header that the proxy sets (`proved`)"
    )]
    NobodyProved(&'static str),
    #[error("`pass.claim` can be used by nobody: no source in `subject` is a `jwt`")]
    NoJwt,
    #[error("there is no cohort `{0}`: create it first")]
    NoCohort(CohortName),
    #[error("flag `{flag}` {what}: it needs the variants `old` and `new`, and must not be the flag of a change")]
    Flag { flag: FlagKey, what: &'static str },
}

impl Settings {
    /// The settings, if they can be used.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn checked(self) -> Result<Self, InvalidSettings> {
        if self.subject.len() > SOURCES_MAX {
            return Err(InvalidSettings::TooManySources(self.subject.len()));
        }
        let Upstreams { old, new, others } = &self.upstreams;
        if others.len() > UPSTREAMS_MAX {
            return Err(InvalidSettings::TooManyUpstreams(others.len()));
        }
        let twice = [old, new].into_iter().find(|name| others.contains(*name)).or((old == new).then_some(old));
        if let Some(twice) = twice {
            return Err(InvalidSettings::UpstreamTwice(twice.clone()));
        }
        let has_jwt = self.subject.iter().any(|source| matches!(source, Source::Jwt(_)));
        let is_proved =
            has_jwt || self.subject.iter().any(|source| matches!(source, Source::Plain { proved: true, .. }));
        if self.choice.is_some() && !is_proved {
            return Err(InvalidSettings::NobodyProved("choice"));
        }
        if self.pass.cohort.is_some() && !is_proved {
            return Err(InvalidSettings::NobodyProved("pass.cohort"));
        }
        if self.pass.claim.is_some() && !has_jwt {
            return Err(InvalidSettings::NoJwt);
        }
        Ok(self)
    }

    /// The cohorts that are named.
    pub fn cohorts(&self) -> impl Iterator<Item = &CohortName> {
        self.choice.iter().map(|choice| &choice.cohort).chain(&self.pass.cohort)
    }

    /// The names of the keys by which tokens are verified.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.subject.iter().filter_map(|source| match source {
            Source::Jwt(jwt) => Some(jwt.key.as_str()),
            Source::Plain { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: serde_json::Value) -> Result<Settings, String> {
        serde_json::from_value::<Settings>(value)
            .map_err(|error| error.to_string())?
            .checked()
            .map_err(|e| e.to_string())
    }

    #[test]
    fn settings_are_written_as_they_were_read() {
        let written = json!({
            "subject": [
                { "jwt": { "key": "shop", "claim": "uid", "audience": "shop" }, "cookie": "session" },
                { "header": "X-User-Id", "proved": true },
                { "cookie": "user_id" }
            ],
            "flag": "copy",
            "upstreams": { "old": "legacy", "new": "next", "others": ["beta"] },
            "choice": { "cohort": "staff", "header": "X-Upstream", "cookie": "upstream" },
            "pass": { "cohort": "admins", "claim": { "name": "role", "value": "admin" } }
        });
        let settings = read(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(settings).unwrap(), written);
        assert_eq!(
            serde_json::to_value(read(json!({})).unwrap()).unwrap(),
            json!({ "subject": [], "upstreams": { "old": "old", "new": "new" } })
        );
    }

    #[test]
    fn what_would_be_unsafe_or_useless_is_refused() {
        for (value, said) in [
            (json!({ "upstreams": { "old": "a", "new": "b\r\nX: 1" } }), "is not a name of an upstream"),
            (json!({ "upstreams": { "old": "a", "new": "http://elsewhere" } }), "is not a name of an upstream"),
            (json!({ "upstreams": { "old": "a", "new": "a" } }), "twice"),
            (json!({ "upstreams": { "old": "a", "new": "b", "others": ["b"] } }), "twice"),
            (json!({ "subject": [{ "header": "X", "cookie": "y" }] }), "one `header` or one `cookie`"),
            (json!({ "subject": [{}] }), "one `header` or one `cookie`"),
            (json!({ "subject": [{ "header": "a b" }] }), "is not the name of a header or cookie"),
            (json!({ "subject": [{ "jwt": { "key": "" } }] }), "names the `key`"),
            (json!({ "subject": [{ "jwt": { "key": "k" }, "proved": true }] }), "proved by its signature"),
            (json!({ "subject": [{ "cookie": "u" }], "choice": { "cohort": "staff", "cookie": "c" } }), "nobody"),
            (json!({ "subject": [{ "cookie": "u" }], "pass": { "cohort": "staff" } }), "nobody"),
            (
                json!({ "subject": [{ "header": "u", "proved": true }], "pass": { "claim": { "name": "r", "value": "a" } } }),
                "jwt",
            ),
            (
                json!({ "subject": [{ "header": "u", "proved": true }], "choice": { "cohort": "staff" } }),
                "in which `header`",
            ),
            (json!({ "surprise": 1 }), "unknown field"),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert!(error.contains(said), "{value}: {error}");
        }
    }
}
