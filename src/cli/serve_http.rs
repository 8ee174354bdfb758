//! The settings of `changeover serve` that concern its clients: how often they may ask.

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

    /// A client's address is the last one in X-Forwarded-For: set it only behind a proxy that writes that header
    #[arg(long, env = "CHANGEOVER_BEHIND_PROXY")]
    pub behind_proxy: bool,
}

impl HttpArguments {
    #[must_use]
    pub fn limits(&self) -> Limits {
        let tokens = Rate::new(self.rate_limit_per_second, self.rate_limit_burst);
        let failures = Rate::new(self.auth_failures_per_second, self.auth_failures_burst);
        Limits::new(tokens, failures).behind_proxy(self.behind_proxy)
    }
}
