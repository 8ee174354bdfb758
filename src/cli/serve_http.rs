//! The settings of `changeover serve` that concern its clients: how often they may ask, and how they are told of changes.

use std::time::Duration;

use crate::http::events::StreamSettings;
use crate::http::limits::{Limits, Rate};

#[derive(Debug, Clone, clap::Args)]
pub struct HttpArguments {
    /// Requests that each token may make in a second on average; 0 sets no limit
    #[arg(long, env = "CHANGEOVER_RATE_LIMIT_PER_SECOND", default_value_t = 0, value_name = "N")]
    pub rate_limit_per_second: u32,

    /// Requests that a token may make at once after a pause; 0 stands for one second's worth
    #[arg(long, env = "CHANGEOVER_RATE_LIMIT_BURST", default_value_t = 0, value_name = "N")]
    pub rate_limit_burst: u32,

    /// Wrong tokens that an address may send in a second on average, before 401 becomes 429; 0 sets no limit
    #[arg(long, env = "CHANGEOVER_AUTH_FAILURES_PER_SECOND", default_value_t = 10, value_name = "N")]
    pub auth_failures_per_second: u32,

    /// Wrong tokens that an address may send at once after a pause
    #[arg(long, env = "CHANGEOVER_AUTH_FAILURES_BURST", default_value_t = 100, value_name = "N")]
    pub auth_failures_burst: u32,

    /// Seconds that a client may take to send a request's head, and to begin with its body; from then on a body has to come at a kilobyte
    /// a second or faster. Whoever is slower is cut off
    #[arg(long, env = "CHANGEOVER_SLOW_CLIENT_SECONDS", default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub slow_client_seconds: u64,

    /// A client's address is the last one in X-Forwarded-For: set it only behind a proxy that writes that header
    #[arg(long, env = "CHANGEOVER_BEHIND_PROXY")]
    pub behind_proxy: bool,

    /// Where clients reach this service, such as https://flags.example.com/changeover: event streams are offered there. Without it
    /// they are offered where a client's other requests go, below X-Forwarded-Prefix if --behind-proxy is set
    #[arg(long, env = "CHANGEOVER_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub public_url: Option<String>,

    /// Event streams that may be open on this server; with 0 none are offered
    #[arg(long, env = "CHANGEOVER_EVENT_STREAMS_MAX", default_value_t = 10_000, value_name = "N")]
    pub event_streams_max: usize,

    /// Event streams that may be open for one token; 0 sets no limit of their own
    #[arg(long, env = "CHANGEOVER_EVENT_STREAMS_PER_TOKEN", default_value_t = 0, value_name = "N")]
    pub event_streams_per_token: usize,

    /// The longest time over which clients are told of a change, so that not all ask at once: a few are told at once, four a
    /// millisecond from then on
    #[arg(long, env = "CHANGEOVER_EVENT_JITTER_MS", default_value_t = 1_000, value_name = "MILLISECONDS")]
    pub event_jitter_ms: u64,

    /// Seconds of silence after which a stream sends a comment, so that proxies keep it open
    #[arg(long, env = "CHANGEOVER_EVENT_HEARTBEAT_SECONDS", default_value_t = 15, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub event_heartbeat_seconds: u64,

    /// Minutes after which a stream ends at the latest, so that its client connects anew, to another server perhaps
    #[arg(long, env = "CHANGEOVER_EVENT_LIFETIME_MINUTES", default_value_t = 60, value_name = "MINUTES",
          value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub event_lifetime_minutes: u64,
}

fn public_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain =
        |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\?#".contains(&b));
    match rest {
        Some(rest) if is_plain(rest) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(String::from("write http:// or https://, a host and perhaps a path")),
    }
}

impl HttpArguments {
    #[must_use]
    pub fn streams(&self) -> StreamSettings {
        StreamSettings {
            public_url: self.public_url.clone(),
            streams_max: self.event_streams_max,
            streams_per_token_max: match self.event_streams_per_token {
                0 => self.event_streams_max,
                of_one => of_one,
            },
            spread_max: Duration::from_millis(self.event_jitter_ms),
            heartbeat: Duration::from_secs(self.event_heartbeat_seconds),
            lifetime: Duration::from_secs(self.event_lifetime_minutes * 60),
        }
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        let tokens = Rate::new(self.rate_limit_per_second, self.rate_limit_burst);
        let failures = Rate::new(self.auth_failures_per_second, self.auth_failures_burst);
        let limits = Limits::new(tokens, failures).behind_proxy(self.behind_proxy);
        limits.waiting(Duration::from_secs(self.slow_client_seconds))
    }
}
