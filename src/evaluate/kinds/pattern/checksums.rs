//! Check digits: what tells a card number from an order number.

/// The digits of a text, whatever stands between them.
pub(super) fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|character| character.to_digit(10)).collect()
}

/// Luhn's check digit (ISO/IEC 7812-1, annex B).
pub(super) fn is_luhn(digits: &[u32]) -> bool {
    let weighted = |(index, digit): (usize, &u32)| match (index % 2, digit * 2) {
        (0, _) => *digit,
        (_, doubled) if doubled > 9 => doubled - 9,
        (_, doubled) => doubled,
    };
    digits.iter().rev().enumerate().map(weighted).sum::<u32>() % 10 == 0
}

/// Remainder by 97 of a number written in digits and letters, a letter being 10 to 35 (ISO 7064 MOD 97-10).
pub(super) fn remainder_by_97(text: impl Iterator<Item = char>) -> u32 {
    text.filter_map(|character| character.to_digit(36)).fold(0, |remainder, value| {
        if value < 10 { (remainder * 10 + value) % 97 } else { (remainder * 100 + value) % 97 }
    })
}

/// Remainder by 11 of the weighted sum of digits.
pub(super) fn weighted_by_11(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum::<u32>() % 11
}

/// The check character of an Italian tax code's first fifteen characters (decree of 12 March 1974).
pub(super) fn italian_check_character(code: &[u8]) -> Option<u8> {
    /// What a character at an odd place counts, by its place in the alphabet or its digit.
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let place = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'A'..=b'Z' => Some(character - b'A'),
        _ => None,
    };
    let mut sum = 0;
    for (index, character) in code.iter().enumerate() {
        let place = place(*character)?;
        sum += if index % 2 == 0 { ODD[usize::from(place)] } else { u32::from(place) };
    }
    u8::try_from(sum % 26).ok().map(|remainder| b'A' + remainder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_digit_breaks_luhn_and_mod_97() {
        assert!(is_luhn(&digits("4111 1111 1111 1111")) && is_luhn(&digits("79927398713")));
        assert!(!is_luhn(&digits("4111 1111 1111 1112")) && !is_luhn(&digits("79927398710")));
        // ISO 13616 moves the first four characters to the end; the remainder of a valid number is 1.
        assert_eq!(remainder_by_97("WEST12345698765432GB82".chars()), 1);
        assert_ne!(remainder_by_97("WEST12345698765433GB82".chars()), 1);
    }

    #[test]
    fn the_italian_check_character_is_that_of_the_ministry_s_example() {
        assert_eq!(italian_check_character(b"RSSMRA85T10A562"), Some(b'S'));
    }
}
