//! Keys by which JSON Web Tokens are verified. Each key is for one algorithm, which the server's settings name: what a token says of its
//! algorithm only ever chooses among them.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::source::JwtSource;
use crate::primitives::Instant;

/// Clocks of two machines may differ by so much.
const LEEWAY_S: i64 = 30;
/// A longer token is nobody's.
const TOKEN_BYTES_MAX: usize = 8_192;
/// RFC 7518, 3.2: a key as long as the hash.
const SECRET_BYTES_MIN: usize = 32;

/// The algorithms that are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

impl Algorithm {
    fn of_the_crate(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
        }
    }
}

/// A key as a server's settings name it: `NAME=ALGORITHM:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWish {
    pub name: String,
    pub algorithm: Algorithm,
    pub file: String,
}

impl FromStr for KeyWish {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let unreadable = || BadKey::Written(text.chars().take(80).collect());
        let (name, rest) = text.split_once('=').ok_or_else(unreadable)?;
        let (algorithm, file) = rest.split_once(':').ok_or_else(unreadable)?;
        let algorithm = match algorithm.to_ascii_lowercase().as_str() {
            "hs256" => Algorithm::Hs256,
            "rs256" => Algorithm::Rs256,
            "es256" => Algorithm::Es256,
            _ => return Err(unreadable()),
        };
        if name.is_empty() || file.is_empty() {
            return Err(unreadable());
        }
        Ok(Self { name: name.to_owned(), algorithm, file: file.to_owned() })
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error(
        "`{0}` is not a key: write NAME=ALGORITHM:FILE, with hs256, rs256 or es256, such as shop=rs256:/etc/changeover/shop.pem"
    )]
    Written(String),
    #[error("the secret of key `{0}` has {1} bytes: HS256 needs {SECRET_BYTES_MIN} or more, random ones")]
    ShortSecret(String, usize),
    #[error("key `{0}` is not a public key in PEM form for its algorithm")]
    NotPem(String),
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error("this server has no key `{0}` (--edge-key)")]
    NoKey(String),
    #[error("{0}")]
    Refused(String),
    #[error("it has no time at which it ends (`exp`)")]
    NoEnd,
    #[error("it has ended")]
    Ended,
    #[error("it has not begun")]
    NotBegun,
    #[error("it is for somebody in particular (`aud`), and nobody says that it is for us")]
    ForSomebody,
    #[error("it asks for what we do not understand (`crit`)")]
    Critical,
}

/// The keys of a server, by name. A name may have several, so that keys can be changed.
#[derive(Clone, Default)]
pub struct Keys {
    keys: HashMap<String, Vec<(Algorithm, DecodingKey)>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl Keys {
    /// Adds a key: the secret's bytes for HS256 (one line break at the end is not part of it), else a public key in PEM form.
    ///
    /// # Errors
    /// A secret that is too short, a text that is no key.
    pub fn add(&mut self, name: &str, algorithm: Algorithm, content: &[u8]) -> Result<(), BadKey> {
        let not_pem = |_| BadKey::NotPem(name.to_owned());
        let key = match algorithm {
            Algorithm::Hs256 => {
                let secret = content.strip_suffix(b"\n").unwrap_or(content);
                let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(BadKey::ShortSecret(name.to_owned(), secret.len()));
                }
                DecodingKey::from_secret(secret)
            }
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(content).map_err(not_pem)?,
            Algorithm::Es256 => DecodingKey::from_ec_pem(content).map_err(not_pem)?,
        };
        self.keys.entry(name.to_owned()).or_default().push((algorithm, key));
        Ok(())
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    /// The claims of a token that one of the source's keys has signed, that has begun and has not ended, and that is for us.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, source: &JwtSource, token: &str, now: Instant) -> Result<Map<String, Value>, BadToken> {
        let keys = self.keys.get(&source.key).ok_or_else(|| BadToken::NoKey(source.key.clone()))?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::Refused(format!("it is longer than {TOKEN_BYTES_MAX} bytes")));
        }
        let refused = |error: jsonwebtoken::errors::Error| BadToken::Refused(error.to_string());
        let header = decode_header(token).map_err(refused)?;
        if header.crit.is_some() {
            return Err(BadToken::Critical);
        }
        let mut outcome = Err(BadToken::Refused(format!("no key `{}` is for {:?}", source.key, header.alg)));
        for (algorithm, key) in keys.iter().filter(|(algorithm, _)| algorithm.of_the_crate() == header.alg) {
            outcome = decode::<Map<String, Value>>(token, key, &validation(source, *algorithm)).map_err(refused);
            if outcome.is_ok() {
                break;
            }
        }
        let claims = outcome?.claims;
        check_times(&claims, now)?;
        if source.audience.is_none() && claims.contains_key("aud") {
            return Err(BadToken::ForSomebody);
        }
        Ok(claims)
    }
}

/// Signature, audience and issuer; times are checked by our own clock.
fn validation(source: &JwtSource, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm.of_the_crate());
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = source.audience.is_some();
    let mut required = vec!["exp"];
    if let Some(audience) = &source.audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    if let Some(issuer) = &source.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn check_times(claims: &Map<String, Value>, now: Instant) -> Result<(), BadToken> {
    let now_s = now.as_micros().div_euclid(1_000_000);
    let end = claims.get("exp").and_then(seconds).ok_or(BadToken::NoEnd)?;
    if end <= now_s.saturating_sub(LEEWAY_S) {
        return Err(BadToken::Ended);
    }
    match claims.get("nbf").map(seconds) {
        Some(Some(begin)) if begin > now_s.saturating_add(LEEWAY_S) => Err(BadToken::NotBegun),
        Some(None) => Err(BadToken::NotBegun),
        _ => Ok(()),
    }
}

/// A number of seconds; of a fraction the whole ones.
fn seconds(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let text =
                number.as_f64().filter(|seconds| seconds.abs() < 9e15).map(|seconds| format!("{:.0}", seconds.floor()));
            text?.parse().ok()
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::super::source::Place;
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: Instant = Instant::from_micros(2_000_000_000_000_000);
    const NOW_S: i64 = 2_000_000_000;

    fn keys() -> Keys {
        let mut keys = Keys::default();
        keys.add("shop", Algorithm::Hs256, SECRET).unwrap();
        keys
    }

    fn source() -> JwtSource {
        let place = Place::Cookie(String::from("session"));
        let audience = Some(String::from("shop"));
        JwtSource { place, key: String::from("shop"), claim: String::from("sub"), audience, issuer: None }
    }

    fn signed(claims: &Value, secret: &[u8]) -> String {
        encode(&Header::default(), claims, &EncodingKey::from_secret(secret)).unwrap()
    }

    fn verified(claims: &Value) -> Result<Map<String, Value>, BadToken> {
        keys().verify(&source(), &signed(claims, SECRET), NOW)
    }

    #[test]
    fn times_and_audience_are_checked() {
        let good = json!({ "sub": "1", "aud": "shop", "exp": NOW_S + 60, "nbf": NOW_S - 60 });
        assert_eq!(verified(&good).unwrap().get("sub"), Some(&json!("1")));
        for (field, value, outcome) in [
            ("exp", json!(NOW_S - LEEWAY_S + 1), true),
            ("exp", json!(NOW_S - LEEWAY_S), false),
            ("exp", json!("later"), false),
            ("exp", json!(null), false),
            ("exp", json!(2_000_000_000.5), true),
            ("nbf", json!(NOW_S + LEEWAY_S), true),
            ("nbf", json!(NOW_S + LEEWAY_S + 1), false),
            ("nbf", json!("now"), false),
            ("aud", json!("other"), false),
            ("aud", json!(["other", "shop"]), true),
            ("aud", json!(7), false),
            ("aud", json!(null), false),
        ] {
            let mut claims = good.clone();
            claims[field] = value.clone();
            assert_eq!(verified(&claims).is_ok(), outcome, "{field} = {value}");
        }
        for field in ["exp", "aud"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(field);
            assert!(verified(&claims).is_err(), "without {field}");
        }
    }

    #[test]
    fn a_token_for_somebody_else_is_not_for_whoever_says_nothing() {
        let anybody = JwtSource { audience: None, ..source() };
        let claims = json!({ "sub": "1", "exp": NOW_S + 60 });
        assert!(keys().verify(&anybody, &signed(&claims, SECRET), NOW).is_ok());
        let claims = json!({ "sub": "1", "exp": NOW_S + 60, "aud": "other" });
        assert_eq!(keys().verify(&anybody, &signed(&claims, SECRET), NOW), Err(BadToken::ForSomebody));
        let issued = JwtSource { issuer: Some(String::from("https://id")), audience: None, ..source() };
        for (issuer, outcome) in [(json!("https://id"), true), (json!("https://evil"), false), (json!(null), false)] {
            let claims = json!({ "sub": "1", "exp": NOW_S + 60, "iss": issuer });
            assert_eq!(keys().verify(&issued, &signed(&claims, SECRET), NOW).is_ok(), outcome);
        }
    }

    #[test]
    fn a_token_never_chooses_its_algorithm() {
        let claims = json!({ "sub": "1", "aud": "shop", "exp": NOW_S + 60 });
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIiwiYXVkIjoic2hvcCIsImV4cCI6MjAwMDAwMDA2MH0.";
        assert!(keys().verify(&source(), none, NOW).is_err());
        let longer =
            encode(&Header::new(jsonwebtoken::Algorithm::HS512), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
        assert!(keys().verify(&source(), &longer, NOW).is_err(), "HS512 with the same secret");
        // The public key of RS256, taken for the secret of HS256.
        let mut public = Keys::default();
        public.add("shop", Algorithm::Rs256, RSA_PUBLIC.as_bytes()).unwrap();
        assert!(public.verify(&source(), &signed(&claims, RSA_PUBLIC.as_bytes()), NOW).is_err());
        assert!(keys().verify(&source(), &signed(&claims, b"another-secret-another-secret-an"), NOW).is_err());
        let critical = Header { crit: Some(vec![String::from("b64")]), ..Header::default() };
        let critical = encode(&critical, &claims, &EncodingKey::from_secret(SECRET)).unwrap();
        assert_eq!(keys().verify(&source(), &critical, NOW), Err(BadToken::Critical));
        for nonsense in ["", ".", "..", "a.b.c", &"x".repeat(10_000)] {
            assert!(keys().verify(&source(), nonsense, NOW).is_err());
        }
    }

    #[test]
    fn a_name_may_have_two_keys_while_they_are_changed() {
        let mut keys = keys();
        let next = b"next-secret-next-secret-next-sec";
        keys.add("shop", Algorithm::Hs256, next).unwrap();
        let claims = json!({ "sub": "1", "aud": "shop", "exp": NOW_S + 60 });
        for secret in [SECRET, next.as_slice()] {
            assert!(keys.verify(&source(), &signed(&claims, secret), NOW).is_ok());
        }
        assert_eq!(keys.add("x", Algorithm::Hs256, b"short\n"), Err(BadKey::ShortSecret(String::from("x"), 5)));
        assert_eq!(keys.add("x", Algorithm::Es256, SECRET), Err(BadKey::NotPem(String::from("x"))));
        assert_eq!(format!("{keys:?}"), "{\"shop\"}");
    }

    #[test]
    fn a_key_is_named_with_its_algorithm_and_file() {
        let wish: KeyWish = "shop=RS256:/etc/a:b.pem".parse().unwrap();
        assert_eq!(
            (wish.name.as_str(), wish.algorithm, wish.file.as_str()),
            ("shop", Algorithm::Rs256, "/etc/a:b.pem")
        );
        for bad in ["", "shop", "shop=hs256", "=hs256:x", "shop=hs256:", "shop=none:x"] {
            assert!(bad.parse::<KeyWish>().is_err(), "{bad}");
        }
    }

    const RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAl7HN0Bs1BETVLPFzXiNV\n\
        X4+okux3MlP8ZGM9CvT1075oDOMJvg1b4TPn50k52mFW34tsxLiODK0XddT2QCWK\n\
        NPagqhfJNBXh/R39zZan0s1CWO+NMVKIpP0GecTsmEHQHZLFT1EKFY3rHMR8vk32\n\
        3gwVMGpcY/Szj+8w3FY8jnjxSSWOWpr8x1YeAIBlpfMtGIOW8YClaXYAhyWH0qP4\n\
        lIm+jPfqRm5xuMkr/8nOvUwE8ueR81V8Icdf0KzdGldUhJKhB+Gxt5ODwjSH1SEv\n\
        Rkyi5TV7D8i0A19S337k7VVyDronVc2Gj/opX02LJFVL1z4Ml5EQhz5LEuPEooS2\n\
        AwIDAQAB\n\
        -----END PUBLIC KEY-----";
}
