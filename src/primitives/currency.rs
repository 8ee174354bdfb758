//! How many decimals a currency has, by ISO 4217.

/// The number of decimals of an ISO 4217 currency: `EUR` 2, `JPY` 0, `BHD` 3; `None` for a code that ISO does not list
/// or that has no minor unit.
#[must_use]
pub fn exponent_of(currency: &str) -> Option<u16> {
    iso_currency::Currency::from_code(currency)?.exponent()
}

#[cfg(test)]
mod tests {
    #[test]
    fn exponents_are_those_of_iso_4217() {
        assert_eq!(super::exponent_of("EUR"), Some(2));
        assert_eq!(super::exponent_of("JPY"), Some(0));
        assert_eq!(super::exponent_of("BHD"), Some(3));
        assert_eq!(super::exponent_of("???"), None);
    }
}
