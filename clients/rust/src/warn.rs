//! What nobody is told by a result goes to the `log` crate, if the feature `log` is on. Never a token, never a context.

#[cfg(feature = "log")]
macro_rules! warning {
    ($($what:tt)*) => { ::log::warn!(target: "changeover", $($what)*) };
}
#[cfg(not(feature = "log"))]
macro_rules! warning {
    ($($what:tt)*) => {{ let _ = format_args!($($what)*); }};
}
#[cfg(feature = "log")]
macro_rules! told {
    ($($what:tt)*) => { ::log::debug!(target: "changeover", $($what)*) };
}
#[cfg(not(feature = "log"))]
macro_rules! told {
    ($($what:tt)*) => {{ let _ = format_args!($($what)*); }};
}
pub(crate) use {told, warning};
