//! What the page may do, told to the browser on the page itself: nothing is loaded, only our own style and script count, and both are
//! named by what they contain, so that text that slips into the page can neither run nor dress itself up.

use sha2::{Digest, Sha256};

use crate::translation::writes::base64;

pub(super) const STYLE: &str = include_str!("../../../templates/report/style.css");
pub(super) const SCRIPT: &str = include_str!("../../../templates/report/filter.js");

/// The page's Content-Security-Policy.
pub(super) fn content_security_policy() -> String {
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        source(STYLE),
        source(SCRIPT)
    )
}

/// A text by its checksum. It has to stand in its element exactly, with no white space added.
fn source(text: &str) -> String {
    format!("'sha256-{}'", base64::encode(&Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_as_browsers_compute_it() {
        assert_eq!(source(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }

    #[test]
    fn nothing_in_style_or_script_ends_its_element_or_loads_anything() {
        for text in [STYLE, SCRIPT] {
            for never in ["</", "<!--", "url(", "@import", "http:", "https:", "fetch(", "innerHTML", "eval"] {
                assert!(!text.contains(never), "{never}");
            }
        }
    }
}
