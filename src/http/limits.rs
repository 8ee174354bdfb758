//! How often a client may ask: each token so often, and each address so often with a token that is not accepted. A token that is
//! accepted is never turned away for what others at its address got wrong: many clients share one behind a proxy.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;

/// More tokens or addresses than this are not told apart at once: the one that asks least is forgotten, and begins anew.
const CLIENTS_MAX: u64 = 10_000;

/// So many requests in a second on average, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

impl Rate {
    /// Nothing for 0 a second, which stands for no limit. A burst of 0 is one second's worth.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second)?;
        Some(Self { per_second, burst: NonZeroU32::new(burst).unwrap_or(per_second) })
    }
}

/// The limits of a server. Each server counts for itself.
pub struct Limits {
    tokens: Option<Clients<String>>,
    failures: Option<Clients<IpAddr>>,
    is_behind_proxy: bool,
    slow_client: Duration,
}

/// How long a client may take to send a request's head, and to begin with its body.
pub const SLOW_CLIENT_DEFAULT: Duration = Duration::from_secs(10);

impl Default for Limits {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl Limits {
    /// Limits for each token and for each address without an accepted one.
    #[must_use]
    pub fn new(tokens: Option<Rate>, failures: Option<Rate>) -> Self {
        let (tokens, failures) = (tokens.map(Clients::new), failures.map(Clients::new));
        Self { tokens, failures, is_behind_proxy: false, slow_client: SLOW_CLIENT_DEFAULT }
    }

    /// Believes the last address in `X-Forwarded-For`: the one that the proxy in front of us saw.
    #[must_use]
    pub fn behind_proxy(self, is_behind_proxy: bool) -> Self {
        Self { is_behind_proxy, ..self }
    }

    /// Gives clients so long for a request's head and for the beginning of its body.
    #[must_use]
    pub fn waiting(self, slow_client: Duration) -> Self {
        Self { slow_client, ..self }
    }

    /// How long a client may take to send a request's head, and to begin with its body.
    #[must_use]
    pub fn slow_client(&self) -> Duration {
        self.slow_client
    }

    /// A request with this token. If it is one too many: how long to wait.
    pub fn take(&self, token_id: &str) -> Result<(), Duration> {
        self.tokens.as_ref().map_or(Ok(()), |clients| clients.take(token_id))
    }

    /// A request whose token is not accepted. If it is one too many: how long to wait.
    pub fn take_failure(&self, request: &HttpRequest) -> Result<(), Duration> {
        match (&self.failures, self.address(request)) {
            (Some(clients), Some(address)) => clients.take(&address),
            _ => Ok(()),
        }
    }

    /// The path that the proxy in front of us has taken away from the beginning of URLs.
    #[must_use]
    pub fn forwarded_prefix<'r>(&self, request: &'r HttpRequest) -> Option<&'r str> {
        let prefix = request.headers().get("X-Forwarded-Prefix").filter(|_| self.is_behind_proxy)?;
        let prefix = prefix.to_str().ok()?.trim_end_matches('/');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~-".contains(&byte);
        (prefix.starts_with('/') && !prefix.starts_with("//") && prefix.bytes().all(is_plain)).then_some(prefix)
    }

    fn address(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr()?.ip();
        let forwarded = self.is_behind_proxy.then(|| forwarded(request)).flatten();
        Some(network(forwarded.unwrap_or(peer)))
    }
}

fn forwarded(request: &HttpRequest) -> Option<IpAddr> {
    let last_line = request.headers().get_all("X-Forwarded-For").last()?;
    last_line.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// An IPv6 client has a whole /64 to choose addresses from, so that is what is counted.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

/// A limiter for each client, as long as it is used.
struct Clients<K> {
    quota: Quota,
    limiters: Cache<K, Arc<DefaultDirectRateLimiter>>,
}

impl<K: std::hash::Hash + Eq + Send + Sync + 'static> Clients<K> {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        // After this long it is full again, and a new one is no different.
        let idle = quota.burst_size_replenished_in() + Duration::from_secs(1);
        Self { quota, limiters: Cache::builder().max_capacity(CLIENTS_MAX).time_to_idle(idle).build() }
    }

    fn take<Q>(&self, client: &Q) -> Result<(), Duration>
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let limiter = self.limiters.get_with_by_ref(client, || Arc::new(RateLimiter::direct(self.quota)));
        limiter.check().map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

/// Whole seconds as `Retry-After` has them: at least one, and never too early.
#[must_use]
pub fn retry_after_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn request(peer: &str, forwarded: &str) -> HttpRequest {
        let request = TestRequest::default().peer_addr(peer.parse().unwrap());
        request.insert_header(("X-Forwarded-For", forwarded)).to_http_request()
    }

    #[test]
    fn each_token_has_its_burst() {
        let limits = Limits::new(Rate::new(1, 3), None);
        for _ in 0..3 {
            assert_eq!(limits.take("one"), Ok(()));
        }
        let wait = limits.take("one").unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(limits.take("other"), Ok(()));
        assert_eq!(Limits::new(Rate::new(0, 3), None).take("one"), Ok(()));
    }

    #[test]
    fn an_address_is_the_proxys_word_only_if_it_is_believed() {
        let failures = || Limits::new(None, Rate::new(1, 1));
        let limits = failures();
        assert!(limits.take_failure(&request("10.0.0.1:1", "1.1.1.1")).is_ok());
        assert!(limits.take_failure(&request("10.0.0.1:2", "2.2.2.2")).is_err());
        let limits = failures().behind_proxy(true);
        assert!(limits.take_failure(&request("10.0.0.1:1", "9.9.9.9, 1.1.1.1")).is_ok());
        assert!(limits.take_failure(&request("10.0.0.1:1", "9.9.9.9, 2.2.2.2")).is_ok());
        assert!(limits.take_failure(&request("10.0.0.1:1", "8.8.8.8, 1.1.1.1")).is_err());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_client() {
        let limits = Limits::new(None, Rate::new(1, 1));
        assert!(limits.take_failure(&request("[2001:db8::1]:1", "")).is_ok());
        assert!(limits.take_failure(&request("[2001:db8::2]:1", "")).is_err());
        assert!(limits.take_failure(&request("[2001:db8:0:1::2]:1", "")).is_ok());
    }

    #[test]
    fn retry_after_is_never_zero() {
        let seconds = |millis| retry_after_seconds(Duration::from_millis(millis));
        assert_eq!([seconds(0), seconds(1), seconds(1_000), seconds(1_001)], [1, 1, 1, 2]);
    }
}
