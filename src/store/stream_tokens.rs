//! Tokens for event streams. A browser cannot send a header with one, so it stands in the URL: it opens streams and nothing else, for
//! minutes, and falls with the token that it was made for. Nothing is stored: it is signed with the stored hash of that token's secret,
//! which every server on this database has.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::hexadecimal;
use super::tokens::{Keyring, Refusal, Token};
use crate::primitives::Instant;

/// A token is made for a window of time and opens streams until the end of the next: for ten to twenty minutes. Within a window
/// it stays the same, so that answers do.
pub const WINDOW_MICROS: i64 = 10 * 60 * 1_000_000;

/// Windows that a token may be off: one back, and one ahead for a server whose clock is.
const WINDOWS_OFF_MAX: u64 = 1;

impl Keyring {
    /// A token that opens streams for the bearer of the token with this id.
    #[must_use]
    pub fn sign_stream(&self, id: &str, now: Instant) -> Option<String> {
        let window = window(now);
        let (_, hash) = self.entry(id)?;
        Some(format!("{id}.{window}.{}", signature(hash, id, window)?))
    }

    /// The token on whose behalf `text` opens a stream. One that is not forged is [`Refusal::Expired`] once its time is over.
    pub fn check_stream(&self, text: &str, now: Instant) -> Result<&Token, Refusal> {
        let mut parts = text.splitn(3, '.');
        let (Some(id), Some(made_in), Some(sent)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Refusal::Unknown);
        };
        let made_in: i64 = made_in.parse().map_err(|_| Refusal::Unknown)?;
        let (_, hash) = self.entry(id).ok_or(Refusal::Unknown)?;
        let ours = signature(hash, id, made_in).ok_or(Refusal::Unknown)?;
        if !bool::from(ours.as_bytes().ct_eq(sent.as_bytes())) {
            return Err(Refusal::Unknown);
        }
        if window(now).abs_diff(made_in) > WINDOWS_OFF_MAX {
            return Err(Refusal::Expired);
        }
        self.check_id(id, now)
    }
}

fn window(now: Instant) -> i64 {
    now.as_micros().div_euclid(WINDOW_MICROS)
}

/// 128 bits, in hexadecimal.
fn signature(hash: &str, id: &str, window: i64) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(hash.as_bytes()).ok()?;
    mac.update(format!("changeover event stream\n{id}\n{window}").as_bytes());
    mac.finalize().into_bytes().get(..16).map(hexadecimal)
}
