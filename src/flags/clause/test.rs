//! A clause's comparands, compiled once, and what they say of a value.

use core::net::IpAddr;
use std::borrow::Cow;
use std::cmp::Ordering;

use ipnet::IpNet;
use jiff::Timestamp;
use regex::Regex;
use semver::Version;
use serde_json::{Number, Value};

use super::number::Numeric;
use super::operator::Comparison;

/// Up to so many comparands are asked one after the other, more are searched.
const FEW: usize = 6;

/// What is asked of a value.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// Equal to any of these.
    Equals(Comparands),
    /// A text that has any of these in it, or a list that has any of these as an element.
    Contains(Comparands),
    StartsWith(Texts),
    EndsWith(Texts),
    Matches(Box<[Regex]>),
    Number(Comparison, Numeric),
    Instant(Comparison, Timestamp),
    Semver(Comparison, Box<Version>),
    InCidr(Box<[IpNet]>),
    Exists,
}

/// Values of one type, at least one. A text compares with texts only, and so on: `"1"`, `1` and `true` are never equal.
#[derive(Debug, Clone)]
pub(super) enum Comparands {
    Texts(Texts),
    Numbers(Box<[Numeric]>),
    Booleans(Box<[bool]>),
}

/// Texts in order; folded if case is ignored.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    sorted: Box<[Box<str>]>,
    ignore_case: bool,
}

/// A value as a test sees it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a> {
    Text(&'a str),
    Number(&'a Number),
    Boolean(bool),
    List(&'a [Value]),
    /// An object, or a `null` in a list.
    Other,
}

impl<'a> Found<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            Value::Number(number) => Self::Number(number),
            Value::Bool(flag) => Self::Boolean(*flag),
            Value::Array(values) => Self::List(values),
            Value::Object(_) | Value::Null => Self::Other,
        }
    }
}

impl Test {
    /// Whether it holds; nothing if the value is of a type of which it can't be told.
    pub(super) fn holds(&self, found: Found<'_>) -> Option<bool> {
        match (self, found) {
            (Self::Exists, _) => Some(true),
            (Self::Equals(comparands), found) => comparands.equal(found),
            (Self::Contains(comparands), Found::List(elements)) => comparands.any_element(elements),
            (Self::Contains(Comparands::Texts(texts)), Found::Text(text)) => {
                Some(texts.any(text, |text, part| text.contains(part)))
            }
            (Self::StartsWith(texts), Found::Text(text)) => Some(texts.any(text, |text, part| text.starts_with(part))),
            (Self::EndsWith(texts), Found::Text(text)) => Some(texts.any(text, |text, part| text.ends_with(part))),
            (Self::Matches(patterns), Found::Text(text)) => Some(patterns.iter().any(|pattern| pattern.is_match(text))),
            (Self::Number(comparison, comparand), Found::Number(number)) => {
                Some(comparison.holds(Numeric::exact(number)?.compare(*comparand)?))
            }
            (Self::Instant(comparison, comparand), Found::Text(text)) => {
                Some(comparison.holds(instant(text)?.cmp(comparand)))
            }
            (Self::Semver(comparison, comparand), Found::Text(text)) => {
                Some(comparison.holds(version(text)?.cmp_precedence(comparand)))
            }
            (Self::InCidr(networks), Found::Text(text)) => {
                let address = address(text)?;
                Some(networks.iter().any(|network| network.contains(&address)))
            }
            _ => None,
        }
    }
}

impl Comparands {
    fn equal(&self, found: Found<'_>) -> Option<bool> {
        match (self, found) {
            (Self::Texts(texts), Found::Text(text)) => Some(texts.have(text)),
            (Self::Numbers(numbers), Found::Number(number)) => {
                let number = Numeric::exact(number)?;
                Some(numbers.iter().any(|other| number.compare(*other) == Some(Ordering::Equal)))
            }
            (Self::Booleans(flags), Found::Boolean(flag)) => Some(flags.contains(&flag)),
            _ => None,
        }
    }

    /// One element that can't be compared leaves open whether the list has a comparand, unless another one settles it.
    fn any_element(&self, elements: &[Value]) -> Option<bool> {
        let mut outcome = Some(false);
        for element in elements {
            match self.equal(Found::of(element)) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => outcome = None,
            }
        }
        outcome
    }
}

impl Texts {
    pub(super) fn new(texts: impl IntoIterator<Item = String>, ignore_case: bool) -> Self {
        let fold = |text: String| if ignore_case { folded(&text).into_owned() } else { text };
        let mut sorted: Vec<Box<str>> = texts.into_iter().map(|text| fold(text).into_boxed_str()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self { sorted: sorted.into_boxed_slice(), ignore_case }
    }

    fn have(&self, text: &str) -> bool {
        let text = self.folded(text);
        if self.sorted.len() <= FEW {
            self.sorted.iter().any(|other| **other == *text)
        } else {
            self.sorted.binary_search_by(|other| (**other).cmp(&text)).is_ok()
        }
    }

    fn any(&self, text: &str, holds: impl Fn(&str, &str) -> bool) -> bool {
        let text = self.folded(text);
        self.sorted.iter().any(|part| holds(&text, part))
    }

    fn folded<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.ignore_case { folded(text) } else { Cow::Borrowed(text) }
    }
}

/// The text in lower case by Unicode, with each sigma as `σ`: its lower case depends on what stands after it, and a part of a
/// text must be found wherever it stands.
fn folded(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    let lower = text.to_lowercase();
    Cow::Owned(if lower.contains('ς') { lower.replace('ς', "σ") } else { lower })
}

/// An RFC 3339 instant with its offset. A leap second counts as the second before it.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let (date_and_time, rest) = bytes.split_at_checked(19)?;
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let is_good = date_and_time.iter().zip(shape).all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    });
    let rest = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if (1..=9).contains(&digits) { fraction.split_at_checked(digits)?.1 } else { return None }
        }
        _ => rest,
    };
    let is_zoned = match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    if is_good && is_zoned { text.parse().ok() } else { None }
}

/// A version of Semantic Versioning 2.0.0, with or without a `v` before it.
pub(super) fn version(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

/// An IP address; an IPv4 address in the clothes of IPv6 (`::ffff:10.0.0.1`) is that IPv4 address.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// A network such as `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => return address(text).map(IpNet::from),
    };
    match network.addr().to_canonical() {
        IpAddr::V4(inside) if network.addr().is_ipv6() && network.prefix_len() >= 96 => {
            IpNet::new(inside.into(), network.prefix_len() - 96).ok()
        }
        _ => Some(network),
    }
}
