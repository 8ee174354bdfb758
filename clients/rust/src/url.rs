//! The server's address, and texts as parts of a path.

use std::fmt::Write;

/// A setting with which there can be no client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub(crate) String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Where the server is.
#[derive(Debug)]
pub(crate) struct Address {
    /// As it was given, without a slash at its end.
    pub(crate) url: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
    /// What stands before each path.
    pub(crate) prefix: String,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, ConfigError> {
        let wrong =
            || ConfigError(format!("url is the server's address, such as https://flags.example.com, not {url:?}"));
        let url = url.trim_end_matches('/');
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && !"@?#\\\"<>".contains(c));
        if !is_plain(authority) || !is_plain(path) {
            return Err(wrong());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(wrong)?,
            None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None if port.is_empty() => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            None => return Err(wrong()),
        };
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { url: url.to_owned(), host: host.to_owned(), port, is_tls, prefix: path.to_owned() })
    }

    /// As the header `Host` has it.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

/// A text as one part of a path or a query.
pub(crate) fn quoted(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut quoted, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            let _ = write!(quoted, "%{byte:02X}");
        }
        quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let of = |url| Address::parse(url).map(|found| (found.authority(), found.port, found.is_tls, found.prefix));
        let plain = |authority: &str, port, prefix: &str| Ok((authority.to_owned(), port, false, prefix.to_owned()));
        assert_eq!(of("http://127.0.0.1:8080"), plain("127.0.0.1:8080", 8080, ""));
        assert_eq!(of("http://flags.example.com/a/b/"), plain("flags.example.com", 80, "/a/b"));
        assert_eq!(of("http://[::1]:80/"), plain("[::1]", 80, ""));
        assert_eq!(of("https://x"), Ok(("x".to_owned(), 443, true, String::new())));
        let wrong = [
            "",
            "flags.example.com",
            "ftp://x",
            "http://",
            "http://a@b",
            "http://a:b",
            "http://[::1",
            "http://a b",
            "http://a/?q",
        ];
        for wrong in wrong {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(quoted("Zoë /?"), "Zo%C3%AB%20%2F%3F");
    }
}
