//! Base64 (RFC 4648, with padding): how bytes stand in JSON.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as base64.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let sextet = usize::try_from(word >> (18 - 6 * position) & 63).unwrap_or(0);
            let letter = ALPHABET.get(sextet).copied().unwrap_or(b'A');
            text.push(if position > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// The bytes that a base64 text stands for; `None` if it is not base64, padding included.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let unpadded = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in unpadded.as_bytes().chunks(4) {
        let mut word = 0u32;
        for letter in chunk {
            let sextet = ALPHABET.iter().position(|known| known == letter)?;
            word = word << 6 | u32::try_from(sextet).ok()?;
        }
        let missing = u32::try_from(4 - chunk.len()).ok()?;
        let [_, first, second, third] = (word << (6 * missing)).to_be_bytes();
        bytes.extend([first, second, third].into_iter().take(chunk.len() - 1));
    }
    // Bits that padding hides must be zero, or one byte string had several texts.
    (encode(&bytes) == text).then_some(bytes)
}

/// Two hexadecimal digits a byte.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a hexadecimal text.
#[must_use]
pub fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.len().is_multiple_of(2).then(|| pairs.collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        assert_eq!(from_hexadecimal(&hexadecimal(&all)).unwrap(), all);
        for bad in ["Z", "Zg", "Zg=", "Zh==", "Zm9v=", "====", "Zm 9", "Zm9_"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
