//! The id of a request's visitor: of the first source that gives one, and whether it is proved.

use serde_json::{Map, Value};

use super::keys::Keys;
use super::settings::ClaimIs;
use super::source::{JwtSource, Place, Source};
use crate::primitives::Instant;

/// A longer id is nobody's.
const ID_BYTES_MAX: usize = 1_000;

/// A request, as far as visitors are known by it.
pub trait Request {
    /// The values of a header, in order.
    fn header(&self, name: &str) -> Vec<&str>;
}

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    pub id: String,
    /// False if anybody could have said so.
    pub is_proved: bool,
    /// Of the token, if there is one.
    claims: Map<String, Value>,
}

impl Visitor {
    /// True if a verified token says so.
    #[must_use]
    pub fn claims(&self, wanted: &ClaimIs) -> bool {
        let is_it = |value: &Value| text_of(value).is_some_and(|text| text == wanted.value);
        match self.claims.get(&wanted.name) {
            Some(Value::Array(values)) => values.iter().any(is_it),
            Some(value) => is_it(value),
            None => false,
        }
    }
}

/// The visitor; `None` if no source knows one. A token that is not believed is no token.
pub fn visitor_of(sources: &[Source], request: &impl Request, keys: &Keys, now: Instant) -> Option<Visitor> {
    sources.iter().find_map(|source| match source {
        Source::Plain { place, proved } => {
            let id = value_at(place, request).filter(|id| is_id(id))?;
            Some(Visitor { id: id.to_owned(), is_proved: *proved, claims: Map::new() })
        }
        Source::Jwt(jwt) => of_token(jwt, value_at(&jwt.place, request)?, keys, now),
    })
}

fn of_token(source: &JwtSource, value: &str, keys: &Keys, now: Instant) -> Option<Visitor> {
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) => return None,
        None => value,
    };
    let claims = keys.verify(source, token, now).ok()?;
    let id = text_of(claims.get(&source.claim)?).filter(|id| is_id(id))?;
    Some(Visitor { id, is_proved: true, claims })
}

/// What stands at a place. Of two different values neither is believed: the application might read the other one.
pub fn value_at<'r>(place: &Place, request: &'r impl Request) -> Option<&'r str> {
    let values: Vec<&str> = match place {
        Place::Header(name) => request.header(name).into_iter().map(str::trim).collect(),
        Place::Cookie(name) => {
            let pairs = request.header("cookie").into_iter().flat_map(|line| line.split(';'));
            let values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(found, _)| found.trim() == name);
            values.map(|(_, value)| unquoted(value.trim())).collect()
        }
    };
    let (first, rest) = values.split_first()?;
    (!first.is_empty() && rest.iter().all(|value| value == first)).then_some(*first)
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A text or a whole number, as a text.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Headers(Vec<(&'static str, &'static str)>);

    impl Request for Headers {
        fn header(&self, name: &str) -> Vec<&str> {
            self.0.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value).collect()
        }
    }

    fn known(headers: &[(&'static str, &'static str)]) -> Option<(String, bool)> {
        let sources: Vec<Source> =
            serde_json::from_value(json!([{ "header": "X-User", "proved": true }, { "cookie": "user" }])).unwrap();
        let now = Instant::from_micros(0);
        let visitor = visitor_of(&sources, &Headers(headers.to_vec()), &Keys::default(), now)?;
        Some((visitor.id, visitor.is_proved))
    }

    #[test]
    fn the_first_source_that_gives_an_id_counts() {
        let one = |proved| Some((String::from("1"), proved));
        assert_eq!(known(&[("x-user", " 1 "), ("cookie", "user=2")]), one(true));
        assert_eq!(known(&[("cookie", "a=b; user=1; c=d")]), one(false));
        assert_eq!(known(&[("cookie", "user=\"1\"")]), one(false));
        assert_eq!(known(&[("x-user", ""), ("cookie", "user=1")]), one(false));
        assert_eq!(known(&[("cookie", "user=1"), ("cookie", "user=1")]), one(false));
        for nobody in [
            vec![],
            vec![("x-user", "1"), ("x-user", "2")],
            vec![("cookie", "user=1; user=2")],
            vec![("cookie", "user=")],
            vec![("cookie", "xuser=1")],
            vec![("cookie", "user=a\u{7}b")],
        ] {
            assert_eq!(known(&nobody), None, "{nobody:?}");
        }
    }

    #[test]
    fn a_claim_is_the_text_or_a_list_that_holds_it() {
        let admin = ClaimIs { name: String::from("role"), value: String::from("admin") };
        for (role, outcome) in [
            (json!("admin"), true),
            (json!(["user", "admin"]), true),
            (json!("administrator"), false),
            (json!(["administrator"]), false),
            (json!({ "admin": true }), false),
            (json!(null), false),
        ] {
            let Value::Object(claims) = json!({ "role": role }) else { panic!() };
            let visitor = Visitor { id: String::from("1"), is_proved: true, claims };
            assert_eq!(visitor.claims(&admin), outcome, "{role}");
        }
    }
}
