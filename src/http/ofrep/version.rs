//! What an answer is an answer of: the configuration's version, and how many of its scheduled instants have passed. Events name it,
//! and a caller who has been told of it is never answered from behind it.

use std::borrow::Cow;
use std::fmt;

use super::request::percent_decoded;
use crate::flags::Snapshot;
use crate::primitives::Instant;

/// Written `12.3-5f0a91c2`: version 12, three scheduled instants passed, and the beginning of the configuration's digest, which tells
/// two histories of a restored database apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigVersion {
    version: i64,
    step: usize,
    digest: Option<String>,
}

impl ConfigVersion {
    #[must_use]
    pub fn of(snapshot: &Snapshot, now: Instant) -> Self {
        Self { version: snapshot.version(), step: snapshot.schedule_step(now), digest: Some(digest(snapshot)) }
    }

    /// Reads it as an event or a client wrote it: in quotes perhaps, or the version alone.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_start_matches("W/").trim_matches('"');
        let (number, digest) = text.split_once('-').map_or((text, None), |(number, digest)| (number, Some(digest)));
        let (version, step) = number.split_once('.').unwrap_or((number, "0"));
        let version = version.parse().ok().filter(|version| *version >= 0)?;
        Some(Self { version, step: step.parse().ok()?, digest: digest.map(str::to_owned) })
    }

    fn is_ahead_of(&self, snapshot: &Snapshot, now: Instant) -> bool {
        let here = (snapshot.version(), snapshot.schedule_step(now));
        (self.version, self.step) > here
    }

    /// Another configuration of the same number.
    fn contradicts(&self, snapshot: &Snapshot) -> bool {
        self.version == snapshot.version() && self.digest.as_ref().is_some_and(|told| *told != digest(snapshot))
    }
}

impl fmt::Display for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.version, self.step)?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "-{digest}"))
    }
}

fn digest(snapshot: &Snapshot) -> String {
    snapshot.digest().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What a caller has been told of, and must not be answered from behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    version: Option<ConfigVersion>,
    modified_at: Option<Instant>,
    /// It named something that is not one of ours: then nothing can be left out.
    is_unknown: bool,
}

impl Told {
    /// Reads `flagConfigEtag` and `flagConfigLastModified` from a query string.
    pub fn from_query(query: &str) -> Self {
        let mut told = Self::default();
        for (name, value) in query_pairs(query) {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match name {
                "flagConfigEtag" => {
                    told.version = ConfigVersion::parse(value);
                    told.is_unknown |= told.version.is_none();
                }
                "flagConfigLastModified" => {
                    told.modified_at = instant_of(value);
                    told.is_unknown |= told.modified_at.is_none();
                }
                _ => {}
            }
        }
        told
    }

    /// Whether a snapshot is older than what the caller has been told of.
    pub fn is_ahead_of(&self, snapshot: &Snapshot, now: Instant) -> bool {
        let by_version = self.version.as_ref().is_some_and(|version| version.is_ahead_of(snapshot, now));
        let by_time = self.modified_at.is_some_and(|instant| instant > snapshot.changed_at());
        by_version || by_time
    }

    /// Whether the caller's own tag may be trusted to decide.
    pub fn allows_not_modified(&self, snapshot: &Snapshot) -> bool {
        !self.is_unknown && !self.version.as_ref().is_some_and(|version| version.contradicts(snapshot))
    }
}

/// The names and decoded values of a query string.
fn query_pairs(query: &str) -> impl Iterator<Item = (&str, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name, percent_decoded(&value.replace('+', " ")).into_owned())
    })
}

/// The value of a parameter, decoded.
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let value = query.split('&').find_map(|pair| pair.split_once('=').filter(|(found, _)| *found == name))?.1;
    Some(percent_decoded(value))
}

/// Whole seconds since 1970 (the whole second counts as reached by any instant in it), or RFC 3339.
fn instant_of(text: &str) -> Option<Instant> {
    match text.parse::<i64>() {
        Ok(seconds) if seconds >= 0 => seconds.checked_mul(1_000_000).map(Instant::from_micros),
        Ok(_) => None,
        // A `+` of an offset that was not encoded arrives as a space.
        Err(_) => Instant::parse(&text.replace(' ', "+")).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(0);

    #[test]
    fn a_caller_ahead_of_the_snapshot_is_known() {
        let snapshot = Snapshot::build(7, Instant::from_micros(1_000_000_500_000), Vec::new(), Vec::new());
        for (query, is_ahead) in [
            ("", false),
            ("flagConfigEtag=7", false),
            ("flagConfigEtag=7.0", false),
            ("flagConfigEtag=7.1", true),
            ("flagConfigEtag=6.9", false),
            ("flagConfigEtag=8", true),
            ("flagConfigEtag=8.0-01234567", true),
            ("flagConfigEtag=W%2F%228%22", true),
            ("flagConfigLastModified=1000000", false),
            ("flagConfigLastModified=1000001", true),
            ("flagConfigLastModified=1970-01-12T13:46:40Z", false),
            ("flagConfigLastModified=1970-01-12T13:46:41Z", true),
            ("flagConfigLastModified=1970-01-12T14:46:41%2B01:00", true),
            ("flagConfigLastModified=1970-01-12T14:46:41+01:00", true),
            ("a=b&flagConfigEtag=8&c", true),
        ] {
            let told = Told::from_query(query);
            assert_eq!(
                (told.is_ahead_of(&snapshot, NOW), told.allows_not_modified(&snapshot)),
                (is_ahead, true),
                "{query}"
            );
        }
        for query in [
            "flagConfigEtag=abc",
            "flagConfigEtag=7.x",
            "flagConfigEtag=-1",
            "flagConfigEtag=7.0-01234567",
            "flagConfigLastModified=-1",
            "flagConfigLastModified=yesterday",
        ] {
            assert!(!Told::from_query(query).allows_not_modified(&snapshot), "{query}");
        }
    }

    #[test]
    fn a_version_comes_back_as_it_went_out() {
        let snapshot = Snapshot::build(7, NOW, Vec::new(), Vec::new());
        let version = ConfigVersion::of(&snapshot, NOW);
        assert_eq!(ConfigVersion::parse(&version.to_string()), Some(version.clone()));
        assert_eq!(ConfigVersion::parse(&format!("W/\"{version}\"")), Some(version.clone()));
        let told = Told::from_query(&format!("flagConfigEtag={version}"));
        assert!(!told.is_ahead_of(&snapshot, NOW) && told.allows_not_modified(&snapshot));
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        assert_eq!(query_value("a=1&token=x%2Ey&b", "token").as_deref(), Some("x.y"));
        assert_eq!(query_value("xtoken=1&token", "token"), None);
    }
}
